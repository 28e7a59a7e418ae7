//! Who speaks to whom: carried by every call between members, and refused where it does not fit.
//! It keeps two clusters apart that were given each other's addresses, and a wiped volume from posing as the node it was.

use std::str::FromStr;

use tonic::Status;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

const CLUSTER: &str = "ck-cluster";
const FROM: &str = "ck-from";
const FROM_INCARNATION: &str = "ck-from-incarnation";
const TO: &str = "ck-to";
const TO_INCARNATION: &str = "ck-to-incarnation";
/// On a refusal.
const NOT_A_MEMBER: &str = "ck-not-a-member";

/// A node of a cluster; written to `data/NODE` when it founds or joins, and the same ever after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster: String,
    pub(crate) node: u64,
    pub(crate) incarnation: String,
}

/// Whoever made a call that was let in; in the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) node: u64,
    /// This node's membership names it. A node that has just joined knows nobody yet, so Raft's own calls do not require it.
    pub(crate) member: bool,
}

/// What a client puts on each call to one target; made once.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    entries: Vec<(&'static str, MetadataValue<Ascii>)>,
}

impl Stamp {
    /// Errors if a name is not printable ASCII, which `validate` at founding excludes.
    pub(crate) fn new(from: &Identity, to: u64, to_incarnation: &str) -> Result<Stamp, Status> {
        let entries = vec![
            (CLUSTER, ascii(&from.cluster)?),
            (FROM, MetadataValue::from(from.node)),
            (FROM_INCARNATION, ascii(&from.incarnation)?),
            (TO, MetadataValue::from(to)),
            (TO_INCARNATION, ascii(to_incarnation)?),
        ];
        Ok(Stamp { entries })
    }

    pub(crate) fn put(&self, metadata: &mut MetadataMap) {
        for (key, value) in &self.entries {
            metadata.insert(*key, value.clone());
        }
    }
}

fn ascii(text: &str) -> Result<MetadataValue<Ascii>, Status> {
    MetadataValue::from_str(text)
        .map_err(|_| Status::invalid_argument(format!("`{text}` cannot be sent as an identity")))
}

impl Identity {
    /// Lets a call in, or says why not. `incarnation_of` answers from the membership known here.
    pub(crate) fn admit(
        &self,
        metadata: &MetadataMap,
        incarnation_of: impl FnOnce(u64) -> Option<String>,
    ) -> Result<Caller, Status> {
        let cluster = text(metadata, CLUSTER)?;
        if cluster != self.cluster {
            return Err(refusal(format!(
                "the call is for cluster `{cluster}`, this node belongs to cluster `{}`",
                self.cluster
            )));
        }
        let (to, to_incarnation) = (number(metadata, TO)?, text(metadata, TO_INCARNATION)?);
        if to != self.node || to_incarnation != self.incarnation {
            return Err(refusal(format!(
                "the call is for node {to} with volume {to_incarnation}, this is node {} with volume {}",
                self.node, self.incarnation
            )));
        }
        let (from, from_incarnation) = (number(metadata, FROM)?, text(metadata, FROM_INCARNATION)?);
        match incarnation_of(from) {
            Some(known) if known != from_incarnation => Err(refusal(format!(
                "node {from} calls with volume {from_incarnation}, the cluster knows it with volume {known}: \
                 a node that lost its volume must join as a new one"
            ))),
            known => Ok(Caller {
                node: from,
                member: known.is_some(),
            }),
        }
    }
}

/// Only said by a member to a node that it knows to have been removed: never because it has not heard of it yet.
pub(super) fn not_a_member(node: u64) -> Status {
    let mut status = refusal(format!(
        "node {node} is not a member of this cluster any more"
    ));
    status
        .metadata_mut()
        .insert(NOT_A_MEMBER, MetadataValue::from(node));
    status
}

pub(super) fn is_not_a_member(status: &Status) -> bool {
    status.metadata().contains_key(NOT_A_MEMBER)
}

/// FAILED_PRECONDITION: whoever called is not to try the same again.
fn refusal(sentence: String) -> Status {
    Status::failed_precondition(sentence)
}

fn text<'m>(metadata: &'m MetadataMap, key: &'static str) -> Result<&'m str, Status> {
    metadata
        .get(key)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| refusal(format!("the call does not carry `{key}`")))
}

fn number(metadata: &MetadataMap, key: &'static str) -> Result<u64, Status> {
    text(metadata, key)?
        .parse()
        .map_err(|_| refusal(format!("`{key}` of the call is not a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(node: u64, incarnation: &str) -> Identity {
        Identity {
            cluster: "c1".into(),
            node,
            incarnation: incarnation.into(),
        }
    }

    fn call(from: &Identity, to: u64, to_incarnation: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        Stamp::new(from, to, to_incarnation)
            .unwrap()
            .put(&mut metadata);
        metadata
    }

    #[test]
    fn a_member_is_let_in_and_a_stranger_is_marked_as_one() {
        let here = identity(2, "b");
        let metadata = call(&identity(1, "a"), 2, "b");
        let caller = here.admit(&metadata, |node| (node == 1).then(|| "a".to_owned()));
        assert_eq!(
            caller.unwrap(),
            Caller {
                node: 1,
                member: true
            }
        );
        let caller = here.admit(&metadata, |_| None);
        assert_eq!(
            caller.unwrap(),
            Caller {
                node: 1,
                member: false
            }
        );
    }

    #[test]
    fn whatever_does_not_fit_is_refused_in_words() {
        let here = identity(2, "b");
        let other_cluster = Identity {
            cluster: "c2".into(),
            ..identity(1, "a")
        };
        let refused = [
            call(&other_cluster, 2, "b"),
            call(&identity(1, "a"), 3, "b"),
            call(&identity(1, "a"), 2, "wiped"),
            call(&identity(1, "wiped"), 2, "b"),
            MetadataMap::new(),
        ]
        .map(|metadata| {
            let status = here.admit(&metadata, |_| Some("a".to_owned())).unwrap_err();
            assert_eq!(status.code(), tonic::Code::FailedPrecondition);
            status.message().to_owned()
        });
        assert_eq!(
            refused,
            [
                "the call is for cluster `c2`, this node belongs to cluster `c1`",
                "the call is for node 3 with volume b, this is node 2 with volume b",
                "the call is for node 2 with volume wiped, this is node 2 with volume b",
                "node 1 calls with volume wiped, the cluster knows it with volume a: \
                 a node that lost its volume must join as a new one",
                "the call does not carry `ck-cluster`",
            ]
        );
    }
}
