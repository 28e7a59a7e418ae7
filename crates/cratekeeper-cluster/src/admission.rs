//! How an empty node gets into a cluster: it founds one if it was told to and nobody else has one, or joins. Founding happens once: all peers asked, and the object store claimed first (design 7).

use std::sync::Arc;
use std::time::Duration;

use cratekeeper_domain::{
    Actor, Command, FIRST_LEVEL, Login, NEWEST_LEVEL, READERS_LEVEL, RequestId, StreamId,
    StreamState, TokenHash, TokenId,
};
use cratekeeper_wire::pb::peer as pb;
use tokio::time::{Instant, sleep_until};

use crate::RELEASE;
use crate::api::{ExecuteError, NodeOptions, NodeRole, Request, Start, StoreOwner};
use crate::causes::with_causes;
use crate::features;
use crate::node::{Member, Node, storage};
use crate::peer::{Dialer, Identity};
use crate::raft::types;
use crate::restore::{Volume, take_over};

/// What every release says in `JoinRequest.state_format`.
const JOIN_FORMAT: u32 = 1;
const PAUSE: Duration = Duration::from_millis(200);
const ASK_WITHIN: Duration = Duration::from_secs(2);
const JOIN_WITHIN: Duration = Duration::from_secs(20);
const FOUND_WITHIN: Duration = Duration::from_secs(30);

/// What asking the peers came to.
enum Around {
    /// This one is in a cluster.
    Cluster { address: String, cluster: String },
    /// All answered, none is in a cluster.
    Nobody,
    /// Not all answered, and none of those who did is in one.
    Unclear(String),
}

impl Node {
    /// Brings an empty node into a cluster, or finishes what a crash interrupted. The error is a sentence for the operator.
    pub(crate) async fn enter(self: &Arc<Node>) -> Result<(), String> {
        let identity = self.file.lock().identity();
        let identity = match identity {
            Some(identity) => {
                self.confirm_store(&identity).await?;
                identity
            }
            None => match self.options.start.clone() {
                Start::Found { cluster, peers, .. } => self.found_or_join(&cluster, &peers).await?,
                Start::Join { cluster, peers } => self.join(peers, cluster.as_deref()).await?,
            },
        };
        let member = self
            .start_raft(identity)
            .await
            .map_err(|error| with_causes(&error))?;
        if member.identity.node == 1
            && let Start::Found {
                admin,
                admin_token,
                admin_token_hash,
                ..
            } = &self.options.start
        {
            self.finish_founding(member, admin, admin_token, admin_token_hash)
                .await?;
        }
        Ok(())
    }

    /// A volume of a history that was restored elsewhere since must not go on beside it.
    async fn confirm_store(&self, identity: &Identity) -> Result<(), String> {
        let (history, _) = self.installation().map_err(|error| with_causes(&error))?;
        if history.is_empty() {
            return Ok(());
        }
        let owner = StoreOwner {
            cluster: identity.cluster.clone(),
            history: Some(history),
            founder: None,
        };
        (self.options.confirm_store)(owner).await
    }

    /// Found, with the history of a backup if there is one to begin with.
    async fn found(self: &Arc<Node>, cluster: &str) -> Result<Identity, String> {
        let Some(restore) = &self.options.restore else {
            let founder = self.file.lock().incarnation.clone();
            (self.options.claim_store)(StoreOwner {
                cluster: cluster.to_owned(),
                history: None,
                founder: Some(founder),
            })
            .await?;
            return self.become_member(cluster, 1);
        };
        let log = self.log.lock().clone();
        let volume = Volume {
            options: &self.options,
            file: &self.file,
            state: &self.state,
            log: log.ok_or("this node is a member already")?,
        };
        take_over(volume, restore, cluster).await?;
        self.file
            .lock()
            .identity()
            .ok_or_else(|| "the file NODE is incomplete".to_owned())
    }

    async fn found_or_join(
        self: &Arc<Node>,
        cluster: &str,
        peers: &[String],
    ) -> Result<Identity, String> {
        let mut said = String::new();
        while !self.stopping.is_cancelled() {
            match self.look_around(peers).await {
                Around::Cluster {
                    cluster: other,
                    address,
                } if other != cluster => {
                    return Err(format!(
                        "the peer at {address} belongs to the cluster `{other}`, but this node is configured to found `{cluster}`; correct cluster.peers or cluster.id"
                    ));
                }
                Around::Cluster { .. } => return self.join(peers.to_vec(), Some(cluster)).await,
                Around::Nobody => return self.found(cluster).await,
                Around::Unclear(why) => {
                    if why != said {
                        tracing::warn!(
                            why,
                            "waiting to found the cluster: every configured peer must say that it is in none"
                        );
                        said = why;
                    }
                }
            }
            sleep_until(Instant::now() + PAUSE).await;
        }
        Err("the node was stopped before it was in a cluster".to_owned())
    }

    async fn look_around(&self, peers: &[String]) -> Around {
        let there = ask_who_is_there(&self.dialer, &self.options, peers).await;
        match there.cluster {
            Some((address, cluster)) => Around::Cluster { address, cluster },
            None if there.silent.is_empty() => Around::Nobody,
            None => Around::Unclear(there.silent.join("; ")),
        }
    }

    /// Asks until some member has let this node in; `peers` grows by whoever invites it and whoever leads.
    async fn join(
        self: &Arc<Node>,
        mut peers: Vec<String>,
        expected: Option<&str>,
    ) -> Result<Identity, String> {
        let mut said = String::new();
        let mut invitations = self.invitations.subscribe();
        while !self.stopping.is_cancelled() {
            if let Some(invitation) = invitations.borrow_and_update().clone() {
                peers = invitation.peers;
            }
            for address in peers
                .clone()
                .into_iter()
                .filter(|address| *address != self.options.peer_address)
            {
                match self.ask_to_join(&address, expected).await? {
                    Asking::Joined(identity) => return Ok(identity),
                    Asking::Elsewhere(leader) => peers.insert(0, leader),
                    Asking::Later(why) if why != said => {
                        tracing::warn!(address, why, "waiting to join the cluster");
                        said = why;
                    }
                    Asking::Later(_) => {}
                }
                peers.dedup();
            }
            tokio::select! {
                () = self.stopping.cancelled() => {}
                _ = invitations.changed() => {}
                () = sleep_until(Instant::now() + PAUSE) => {}
            }
        }
        Err("the node was stopped before it was in a cluster".to_owned())
    }

    async fn ask_to_join(
        self: &Arc<Node>,
        address: &str,
        expected: Option<&str>,
    ) -> Result<Asking, String> {
        let hello = pb::HelloRequest {
            name: self.options.name.clone(),
            address: self.options.peer_address.clone(),
        };
        let there = match self
            .dialer
            .hello(address, hello, Instant::now() + ASK_WITHIN)
            .await
        {
            Ok(there) => there,
            Err(why) => return Ok(Asking::Later(why)),
        };
        let Some(cluster) = there.cluster else {
            return Ok(Asking::Later("it is in no cluster yet".to_owned()));
        };
        if let Some(expected) = expected.filter(|expected| *expected != cluster) {
            return Err(format!(
                "the peer at {address} belongs to the cluster `{cluster}`, but this node is configured for `{expected}`; correct cluster.peers or cluster.id"
            ));
        }
        let reader = self.options.role == NodeRole::Reader;
        if reader && there.feature_level_max.unwrap_or(FIRST_LEVEL.level) < READERS_LEVEL {
            let release = there.release;
            return Ok(Asking::Later(format!(
                "it runs release {release}, which would make a voter of a reader; upgrade it first"
            )));
        }
        // From here on whoever shows another cluster's certificate is refused, the leader of this one as well.
        self.dialer.belong_to(&cluster)?;
        // Before anything is asked of the cluster: a node that cannot reach its tarballs must not become a member.
        (self.options.check_store)(StoreOwner {
            cluster,
            history: there.history,
            founder: None,
        })
        .await?;
        let join = pb::JoinRequest {
            incarnation: self.file.lock().incarnation.clone(),
            name: self.options.name.clone(),
            address: self.options.peer_address.clone(),
            state_format: JOIN_FORMAT,
            release: RELEASE.to_owned(),
            reader,
            feature_level_max: Some(NEWEST_LEVEL),
        };
        let reply = match self
            .dialer
            .join(address, join, Instant::now() + JOIN_WITHIN)
            .await
        {
            Ok(reply) => reply,
            Err(why) => return Ok(Asking::Later(why)),
        };
        match reply.outcome {
            Some(pb::join_reply::Outcome::Joined(joined)) => Ok(Asking::Joined(
                self.become_member(&joined.cluster, joined.node)?,
            )),
            Some(pb::join_reply::Outcome::Refused(why)) => Err(why),
            Some(pb::join_reply::Outcome::Later(why)) => Ok(Asking::Later(why)),
            Some(pb::join_reply::Outcome::NotLeader(pb::NotLeader {
                leader: Some(leader),
            })) => Ok(Asking::Elsewhere(leader.address)),
            Some(pb::join_reply::Outcome::NotLeader(_)) | None => {
                Ok(Asking::Later("no leader is known there".to_owned()))
            }
        }
    }

    /// From here on this volume is that node, for ever.
    fn become_member(&self, cluster: &str, node: u64) -> Result<Identity, String> {
        let mut file = self.file.lock();
        file.become_node(&self.options.data_dir, cluster, node)
            .map_err(|error| with_causes(&storage("write the file NODE", error)))?;
        file.identity()
            .ok_or_else(|| "the file NODE is incomplete".to_owned())
    }

    /// Idempotent: a crash at any point is made good by the next start.
    async fn finish_founding(
        self: &Arc<Node>,
        member: &Member,
        admin: &Login,
        token: &TokenId,
        hash: &TokenHash,
    ) -> Result<(), String> {
        let initialized = member
            .raft
            .is_initialized()
            .await
            .map_err(|error| error.to_string())?;
        if !initialized {
            let me = self.as_member(&member.identity);
            let members = std::collections::BTreeMap::from([(member.identity.node, me)]);
            member
                .raft
                .initialize(members)
                .await
                .map_err(|error| format!("the cluster could not be founded: {error}"))?;
        }
        let installation = self
            .state
            .folded(&StreamId::Installation)
            .map_err(|error| with_causes(&error))?;
        if matches!(&*installation.state, StreamState::Installation(Some(found)) if !found.nodes.is_empty())
        {
            return Ok(());
        }
        let found = Command::Found {
            cluster: member.identity.cluster.clone(),
            history: uuid::Uuid::new_v4().to_string(),
            admin: admin.clone(),
            token: token.clone(),
            hash: *hash,
            feature_level: features::taken(&self.options),
        };
        if installation.position == 0 {
            self.execute_for_the_cluster(found)
                .await
                .map_err(|error| with_causes(&error))?;
        }
        let admit = Command::AdmitNode {
            incarnation: member.identity.incarnation.clone(),
        };
        self.execute_for_the_cluster(admit)
            .await
            .map_err(|error| with_causes(&error))?;
        tracing::info!(cluster = member.identity.cluster, "the cluster was founded");
        Ok(())
    }

    pub(crate) async fn execute_for_the_cluster(
        self: &Arc<Node>,
        command: Command,
    ) -> Result<(), ExecuteError> {
        let request = Request {
            actor: Actor::default(),
            request: RequestId(*uuid::Uuid::new_v4().as_bytes()),
            command,
        };
        self.execute(request, Instant::now() + FOUND_WITHIN)
            .await
            .map(drop)
    }

    fn as_member(&self, identity: &Identity) -> types::Member {
        types::Member {
            address: self.options.peer_address.clone(),
            incarnation: identity.incarnation.clone(),
            name: self.options.name.clone(),
            role: self.options.role,
        }
    }
}

/// What peers say to a node that is in no cluster.
pub(crate) struct WhoIsThere {
    /// The first that is in one: its address and the cluster.
    pub(crate) cluster: Option<(String, String)>,
    /// Those who did not answer, and why.
    pub(crate) silent: Vec<String>,
}

/// Asks every peer but itself.
pub(crate) async fn ask_who_is_there(
    dialer: &Dialer,
    me: &NodeOptions,
    peers: &[String],
) -> WhoIsThere {
    let mut there = WhoIsThere {
        cluster: None,
        silent: Vec::new(),
    };
    for address in peers.iter().filter(|address| **address != me.peer_address) {
        let hello = pb::HelloRequest {
            name: me.name.clone(),
            address: me.peer_address.clone(),
        };
        let answer = dialer.hello(address, hello, Instant::now() + ASK_WITHIN);
        match answer.await {
            Ok(pb::HelloReply {
                cluster: Some(cluster),
                ..
            }) => {
                there.cluster = Some((address.clone(), cluster));
                return there;
            }
            Ok(_) => {}
            Err(why) => there.silent.push(format!("{address}: {why}")),
        }
    }
    there
}

enum Asking {
    Joined(Identity),
    Elsewhere(String),
    Later(String),
}
