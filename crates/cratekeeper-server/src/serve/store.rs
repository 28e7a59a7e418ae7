//! Whose tarball store it is: the claim that founding makes, that joining checks, and that a restore hands on.

use std::sync::Arc;
use std::time::Duration;

use cratekeeper_cluster::{HistoryHead, StoreCheck, StoreOwner};
use cratekeeper_tarballs::{TarballError, Tarballs};

use crate::causes::with_causes;

/// A store that is away must not keep a node from starting.
const CONFIRM_WITHIN: Duration = Duration::from_secs(2);

const FOUNDED_BY: &str = "founded-by:";

/// As it stands in the store: the cluster, and behind a space its history if that was restored, or the volume that founded it: the
/// store is claimed before the first history has a name. Release 0.1.0 wrote the cluster alone.
fn written(owner: &StoreOwner) -> String {
    let cluster = &owner.cluster;
    match (&owner.history, &owner.founder) {
        (Some(history), _) => format!("{cluster} {history}"),
        (None, Some(founder)) => format!("{cluster} {FOUNDED_BY}{founder}"),
        (None, None) => cluster.clone(),
    }
}

fn read(holder: &str) -> StoreOwner {
    let (cluster, behind) = holder.split_once(' ').unwrap_or((holder, ""));
    let founder = behind.strip_prefix(FOUNDED_BY);
    let history = (founder.is_none() && !behind.is_empty()).then_some(behind);
    StoreOwner {
        cluster: cluster.to_owned(),
        history: history.map(str::to_owned),
        founder: founder.map(str::to_owned),
    }
}

fn sentence(error: TarballError) -> String {
    with_causes(&error)
}

/// Founding: this store must become ours, or be ours already.
pub(super) fn claim_store(tarballs: Tarballs) -> StoreCheck {
    Arc::new(move |owner| {
        let tarballs = tarballs.clone();
        Box::pin(async move {
            let ours = written(&owner);
            let holder = tarballs.claim(&ours).await.map_err(sentence)?;
            if holder == ours {
                return Ok(());
            }
            let cluster = &owner.cluster;
            if read(&holder).cluster == *cluster {
                return Err(format!(
                    "{} belongs to the cluster `{cluster}`, which was founded before, on a volume that is not here: if its nodes are alive, let this one join them; if they are all lost, restore a backup (`cratekeeper restore`, or cluster.restore_from); only to begin anew, give it an empty store",
                    tarballs.describe()
                ));
            }
            Err(belongs_to_another(&tarballs, &holder, cluster))
        })
    })
}

fn belongs_to_another(tarballs: &Tarballs, holder: &str, cluster: &str) -> String {
    let holder = read(holder).cluster;
    format!(
        "{} belongs to the cluster `{holder}`, not to `{cluster}`: give this cluster a store of its own, or join or restore `{holder}`",
        tarballs.describe()
    )
}

/// Who says that a store may be taken over from the cluster whose backup is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakeOver {
    /// Somebody at a command line, for this one time.
    Asked,
    /// The configuration of a cluster with the same id, after all its peers have said that they are in none. Only from the very
    /// history that the backup is of: a configuration that was forgotten must not undo a later restore.
    Configured,
    No,
}

/// Restoring: this store must become the new history's, and is taken over from the old one only where that was asked for.
pub(crate) fn claim_restored(
    tarballs: Tarballs,
    from: HistoryHead,
    take_over: TakeOver,
) -> StoreCheck {
    Arc::new(move |owner| {
        let (tarballs, from) = (tarballs.clone(), from.clone());
        Box::pin(async move {
            let ours = written(&owner);
            let holder = match tarballs.claimed_by().await.map_err(sentence)? {
                None => tarballs.claim(&ours).await.map_err(sentence)?,
                Some(holder) if holder == ours => holder,
                Some(holder) => {
                    may_take_over(&tarballs, &read(&holder), &owner, &from, take_over)?;
                    tarballs.reclaim(&holder, &ours).await.map_err(sentence)?
                }
            };
            if holder == ours {
                return Ok(());
            }
            Err(belongs_to_another(&tarballs, &holder, &owner.cluster))
        })
    })
}

fn may_take_over(
    tarballs: &Tarballs,
    holder: &StoreOwner,
    owner: &StoreOwner,
    from: &HistoryHead,
    take_over: TakeOver,
) -> Result<(), String> {
    let store = tarballs.describe();
    let cluster = &holder.cluster;
    if *cluster != from.cluster {
        return Err(format!(
            "{store} belongs to the cluster `{cluster}`, but the backup is of `{}`: configure the store of that cluster, or a copy of it",
            from.cluster
        ));
    }
    let same = holder.history.as_ref().is_none_or(|it| *it == from.history);
    match take_over {
        TakeOver::Asked => Ok(()),
        TakeOver::Configured if same && owner.cluster == *cluster => Ok(()),
        TakeOver::Configured if same => Err(format!(
            "{store} belongs to the cluster `{cluster}` whose backup this is; to take it over under the id `{}` run `cratekeeper restore --take-over-store`, or configure cluster.id = \"{cluster}\" or a copy of the store",
            owner.cluster
        )),
        TakeOver::Configured => Err(format!(
            "{store} belongs to a history of `{cluster}` that was restored later than this backup was made; restore a newer backup, or run `cratekeeper restore --take-over-store` if you mean it"
        )),
        TakeOver::No => Err(format!(
            "{store} belongs to the cluster `{cluster}` whose backup this is: if all of its nodes are gone or stopped for good, add --take-over-store (they will not start any more); if not, configure a copy of the store"
        )),
    }
}

/// Joining: this store must be the one that the cluster uses, and the cluster must have the history that the store is claimed for.
pub(super) fn check_store(tarballs: Tarballs) -> StoreCheck {
    Arc::new(move |owner| {
        let tarballs = tarballs.clone();
        Box::pin(async move {
            let (store, cluster) = (tarballs.describe(), &owner.cluster);
            let Some(holder) = tarballs.claimed_by().await.map_err(sentence)? else {
                return Err(format!(
                    "{store} is not the tarball store of the cluster `{cluster}`: all nodes need one store that each of them can reach, in S3 or in a directory they share"
                ));
            };
            let holder = read(&holder);
            if holder.cluster != *cluster {
                return Err(format!(
                    "{store} belongs to the cluster `{}`, but this node is to join `{cluster}`: configure the store that `{cluster}` uses",
                    holder.cluster
                ));
            }
            if holder.history.is_some() && holder.history != owner.history {
                return Err(format!(
                    "the peers of this node have an older history of `{cluster}` than the one that was restored and has {store} now: take those nodes out of service"
                ));
            }
            Ok(())
        })
    })
}

/// Starting again: has another history taken the place of the one on this volume? A store that cannot say does not matter.
pub(super) fn confirm_store(tarballs: Tarballs) -> StoreCheck {
    Arc::new(move |owner| {
        let tarballs = tarballs.clone();
        Box::pin(async move {
            let asked = tokio::time::timeout(CONFIRM_WITHIN, tarballs.claimed_by()).await;
            let holder = match asked {
                Ok(Ok(Some(holder))) => read(&holder),
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => {
                    tracing::warn!(error = %with_causes(&error), "the tarball store does not say whose it is");
                    return Ok(());
                }
                Err(_) => {
                    tracing::warn!("the tarball store does not say in time whose it is");
                    return Ok(());
                }
            };
            if holder.history.is_none() || holder == owner {
                return Ok(());
            }
            Err(format!(
                "the cluster `{}` was restored from a backup and has {} now, under the history {}; this volume has the history {} and must not go on beside it: keep it for an investigation, and start the node with an empty data directory",
                holder.cluster,
                tarballs.describe(),
                holder.history.unwrap_or_default(),
                owner.history.unwrap_or_default()
            ))
        })
    })
}
