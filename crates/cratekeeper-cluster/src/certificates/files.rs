//! Files whose contents are used anew when they change, without a restart. Contents are compared, not times or watches, so
//! that it makes no difference whether a file is written, renamed, or swapped behind a symbolic link.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::facts::CertificateFacts;

/// A change is taken at the second look that finds it, so within two of these.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whose certificate it is; a label of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    Http,
    Peer,
}

impl Port {
    fn name(self) -> &'static str {
        match self {
            Port::Http => "http",
            Port::Peer => "peer",
        }
    }
}

/// What some files held at one time.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents(Vec<(PathBuf, Result<Vec<u8>, String>)>);

impl Contents {
    /// A file that cannot be read is told when it is asked for.
    pub fn read<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Contents {
        Contents(
            paths
                .into_iter()
                .map(|path| (path.to_owned(), read(path, std::fs::read(path))))
                .collect(),
        )
    }

    async fn read_again(&self) -> Contents {
        let mut found = Vec::with_capacity(self.0.len());
        for (path, _) in &self.0 {
            let bytes = read(path, tokio::fs::read(path).await);
            found.push((path.clone(), bytes));
        }
        Contents(found)
    }

    /// The file in that place, with its path for sentences.
    pub fn file(&self, place: usize) -> Result<(&Path, &[u8]), String> {
        match self.0.get(place) {
            Some((path, Ok(bytes))) => Ok((path, bytes)),
            Some((_, Err(why))) => Err(why.clone()),
            None => Err("there is no such file".to_owned()),
        }
    }
}

fn read(path: &Path, bytes: io::Result<Vec<u8>>) -> Result<Vec<u8>, String> {
    bytes.map_err(|error| format!("`{}` cannot be read: {error}", path.display()))
}

/// What to do about the files after a look.
struct Watch {
    /// Taken or refused, in either case done with.
    settled: Contents,
    seen: Option<Contents>,
}

impl Watch {
    /// Contents that differ from the settled ones and are the same as at the look before: a file caught half-written, or the
    /// first of a pair, is looked at again before anybody complains.
    fn look(&mut self, found: Contents) -> Option<&Contents> {
        if found == self.settled {
            self.seen = None;
            return None;
        }
        if self.seen.as_ref() != Some(&found) {
            self.seen = Some(found);
            return None;
        }
        self.seen = None;
        self.settled = found;
        Some(&self.settled)
    }
}

/// For ever: hands over what the files hold whenever that has changed. What `take` refuses, in a sentence, is told once, and
/// not handed over again until the files change.
pub async fn follow(
    port: Port,
    first: Contents,
    mut take: impl FnMut(&Contents) -> Result<(), String>,
) {
    let mut watch = Watch {
        settled: first,
        seen: None,
    };
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let found = watch.settled.read_again().await;
        let Some(changed) = watch.look(found) else {
            continue;
        };
        let outcome = match take(changed) {
            Ok(()) => "loaded",
            Err(why) => {
                tracing::error!(
                    port = port.name(),
                    why,
                    "changed certificate files are not used; the ones from before stay in use"
                );
                "refused"
            }
        };
        metrics::counter!("cratekeeper_tls_reloads_total", "port" => port.name(), "outcome" => outcome)
            .increment(1);
    }
}

/// Tells logs and metrics which certificate is in use from now on.
pub fn note_certificate(port: Port, facts: &CertificateFacts) {
    let port = port.name();
    let expires = facts.not_after.unix_timestamp();
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds since 1970 fit into 53 bits"
    )]
    metrics::gauge!("cratekeeper_tls_certificate_expiry_timestamp_seconds", "port" => port)
        .set(expires as f64);
    tracing::info!(
        port,
        hosts = facts.hosts_in_words(),
        expires = facts.expires(),
        "a certificate is in use"
    );
    if let Some(untimely) = facts.untimely(time::OffsetDateTime::now_utc()) {
        tracing::warn!(
            port,
            "the certificate in use {untimely}: clients will refuse it"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(text: &str) -> Contents {
        Contents(vec![("a.pem".into(), Ok(text.as_bytes().to_vec()))])
    }

    #[test]
    fn a_change_is_taken_when_it_has_stayed_for_a_look_and_only_once() {
        let mut watch = Watch {
            settled: contents("old"),
            seen: None,
        };
        let mut taken = |text: &str| watch.look(contents(text)).cloned().is_some();
        let looks = [
            ("old", false),
            // Written bit by bit.
            ("n", false),
            ("ne", false),
            ("new", false),
            ("new", true),
            ("new", false),
            // There for a moment only.
            ("other", false),
            ("new", false),
            ("other", false),
            ("other", true),
        ];
        for (place, (text, expected)) in looks.into_iter().enumerate() {
            assert_eq!(taken(text), expected, "look {place}: {text}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_told_by_name() {
        let contents = Contents::read([Path::new("/nowhere/tls.crt")]);
        let why = contents.file(0).unwrap_err();
        assert!(
            why.starts_with("`/nowhere/tls.crt` cannot be read: "),
            "{why}"
        );
    }
}
