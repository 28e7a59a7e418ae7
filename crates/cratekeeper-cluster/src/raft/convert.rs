//! openraft's values ⇄ our protobuf: what is written to the log store and sent between nodes.
//! openraft may change its types with any release; these bytes stay.

use std::collections::BTreeSet;

use cratekeeper_wire::pb::peer as pb;
use openraft::EntryPayload;
use openraft::vote::RaftLeaderId;

use super::types::{
    Entry, LogId, Member, Membership, Proposal, StoredMembership, TypeConfig, Vote,
};

use crate::api::NodeRole;

type LeaderId = openraft::type_config::alias::LeaderIdOf<TypeConfig>;

/// Bytes from disk or a peer that are not what they should be.
#[derive(Debug, thiserror::Error)]
#[error("{0} is malformed")]
pub(crate) struct Malformed(pub(crate) &'static str);

pub(crate) fn log_id_to_pb(id: &LogId) -> pb::LogId {
    pb::LogId {
        term: id.leader_id.term,
        leader: id.leader_id.node_id,
        index: id.index,
    }
}

pub(crate) fn log_id_from_pb(id: &pb::LogId) -> LogId {
    LogId::new(LeaderId::new(id.term, id.leader), id.index)
}

pub(crate) fn vote_to_pb(vote: &Vote) -> pb::Vote {
    pb::Vote {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

pub(crate) fn vote_from_pb(vote: &pb::Vote) -> Vote {
    if vote.committed {
        Vote::new_committed(vote.term, vote.node)
    } else {
        Vote::new(vote.term, vote.node)
    }
}

pub(crate) fn membership_to_pb(membership: &Membership) -> pb::Membership {
    pb::Membership {
        voters: membership
            .get_joint_config()
            .iter()
            .map(|set| pb::VoterSet {
                nodes: set.iter().copied().collect(),
            })
            .collect(),
        members: membership
            .nodes()
            .map(|(node, member)| member_to_pb(*node, member))
            .collect(),
    }
}

pub(crate) fn membership_from_pb(membership: &pb::Membership) -> Result<Membership, Malformed> {
    let voters = membership
        .voters
        .iter()
        .map(|set| set.nodes.iter().copied().collect::<BTreeSet<u64>>())
        .collect();
    let members = membership
        .members
        .iter()
        .map(member_from_pb)
        .collect::<std::collections::BTreeMap<_, _>>();
    Membership::new(voters, members).map_err(|_| Malformed("membership"))
}

pub(crate) fn member_to_pb(node: u64, member: &Member) -> pb::Member {
    pb::Member {
        node,
        address: member.address.clone(),
        incarnation: member.incarnation.clone(),
        name: member.name.clone(),
        reader: member.role == NodeRole::Reader,
    }
}

pub(crate) fn member_from_pb(member: &pb::Member) -> (u64, Member) {
    let rest = Member {
        address: member.address.clone(),
        incarnation: member.incarnation.clone(),
        name: member.name.clone(),
        role: if member.reader {
            NodeRole::Reader
        } else {
            NodeRole::Voter
        },
    };
    (member.node, rest)
}

pub(crate) fn stored_membership_to_pb(stored: &StoredMembership) -> pb::StoredMembership {
    pb::StoredMembership {
        log_id: stored.log_id().as_ref().map(log_id_to_pb),
        membership: Some(membership_to_pb(stored.membership())),
    }
}

pub(crate) fn stored_membership_from_pb(
    stored: &pb::StoredMembership,
) -> Result<StoredMembership, Malformed> {
    let membership = match &stored.membership {
        Some(membership) if !membership.voters.is_empty() || !membership.members.is_empty() => {
            membership_from_pb(membership)?
        }
        Some(_) | None => Membership::default(),
    };
    Ok(StoredMembership::new(
        stored.log_id.as_ref().map(log_id_from_pb),
        membership,
    ))
}

pub(crate) fn entry_to_pb(entry: &Entry) -> pb::Entry {
    let payload = match &entry.payload {
        EntryPayload::Blank => pb::entry::Payload::Blank(pb::Blank {}),
        EntryPayload::Normal(proposal) => pb::entry::Payload::Append(proposal.bytes.clone()),
        EntryPayload::Membership(membership) => {
            pb::entry::Payload::Membership(membership_to_pb(membership))
        }
    };
    pb::Entry {
        id: Some(log_id_to_pb(&entry.log_id)),
        payload: Some(payload),
    }
}

pub(crate) fn entry_from_pb(entry: pb::Entry) -> Result<Entry, Malformed> {
    let log_id = log_id_from_pb(&entry.id.ok_or(Malformed("log entry without an id"))?);
    let payload = match entry
        .payload
        .ok_or(Malformed("log entry without a payload"))?
    {
        pb::entry::Payload::Blank(_) => EntryPayload::Blank,
        pb::entry::Payload::Append(bytes) => EntryPayload::Normal(Proposal { bytes }),
        pb::entry::Payload::Membership(membership) => {
            EntryPayload::Membership(membership_from_pb(&membership)?)
        }
    };
    Ok(Entry { log_id, payload })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn member(node: u64) -> (u64, Member) {
        let member = Member {
            address: format!("10.0.0.{node}:8081"),
            incarnation: format!("volume-{node}"),
            name: format!("node-{node}"),
            role: NodeRole::Voter,
        };
        (node, member)
    }

    fn log_id(term: u64, leader: u64, index: u64) -> LogId {
        LogId::new(LeaderId::new(term, leader), index)
    }

    fn membership(voters: &[&[u64]], nodes: impl IntoIterator<Item = u64>) -> Membership {
        let voters = voters
            .iter()
            .map(|set| set.iter().copied().collect())
            .collect();
        let nodes: BTreeMap<u64, Member> = nodes.into_iter().map(member).collect();
        Membership::new(voters, nodes).expect("a membership")
    }

    fn entries() -> [Entry; 3] {
        let changing = membership(&[&[1, 2, 3], &[1, 2, 4]], 1..=4);
        [
            Entry {
                log_id: log_id(1, 1, 0),
                payload: EntryPayload::Membership(changing),
            },
            Entry {
                log_id: log_id(3, 2, 70),
                payload: EntryPayload::Blank,
            },
            Entry {
                log_id: log_id(3, 2, 71),
                payload: EntryPayload::Normal(Proposal {
                    bytes: Bytes::from_static(b"append"),
                }),
            },
        ]
    }

    #[test]
    fn entries_keep_their_bytes_and_come_back() {
        let frozen = include_str!("../../fixtures/entries.hex");
        for (entry, frozen) in entries().iter().zip(frozen.lines()) {
            let bytes = entry_to_pb(entry).encode_to_vec();
            assert_eq!(hex::encode(&bytes), frozen);
            let read = pb::Entry::decode(bytes.as_slice()).expect("decodes");
            assert_eq!(entry_from_pb(read).expect("converts"), *entry);
        }
        assert_eq!(frozen.lines().count(), entries().len());
    }

    #[test]
    fn a_stored_membership_comes_back_and_none_stays_none() {
        let some = StoredMembership::new(Some(log_id(3, 1, 9)), membership(&[&[1]], 1..=2));
        for stored in [some, StoredMembership::default()] {
            let there = stored_membership_to_pb(&stored);
            assert_eq!(stored_membership_from_pb(&there).expect("converts"), stored);
        }
    }

    proptest! {
        #[test]
        fn ids_and_votes_come_back(term: u64, node: u64, index: u64, committed: bool) {
            let id = log_id(term, node, index);
            prop_assert_eq!(log_id_from_pb(&log_id_to_pb(&id)), id);
            let vote = if committed { Vote::new_committed(term, node) } else { Vote::new(term, node) };
            prop_assert_eq!(vote_from_pb(&vote_to_pb(&vote)), vote);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            if let Ok(entry) = pb::Entry::decode(bytes.as_slice()) {
                let _ = entry_from_pb(entry);
            }
            if let Ok(stored) = pb::StoredMembership::decode(bytes.as_slice()) {
                let _ = stored_membership_from_pb(&stored);
            }
        }
    }
}
