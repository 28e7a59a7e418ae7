//! Rejections ⇄ protobuf: the leader refuses, the node that was asked tells the client.

use cratekeeper_domain::{Rejection, RejectionKind};

use crate::{DecodeError, pb};

pub fn encode_rejection(rejection: &Rejection) -> pb::peer::Rejected {
    let kind = match rejection.kind {
        RejectionKind::Invalid => pb::peer::RejectionKind::Invalid,
        RejectionKind::TooLarge => pb::peer::RejectionKind::TooLarge,
        RejectionKind::Unauthenticated => pb::peer::RejectionKind::Unauthenticated,
        RejectionKind::Forbidden => pb::peer::RejectionKind::Forbidden,
        RejectionKind::Missing => pb::peer::RejectionKind::Missing,
        RejectionKind::Conflict => pb::peer::RejectionKind::Conflict,
    };
    pb::peer::Rejected {
        kind: kind.into(),
        sentence: rejection.sentence.clone(),
    }
}

pub fn decode_rejection(rejected: pb::peer::Rejected) -> Result<Rejection, DecodeError> {
    let kind = match pb::peer::RejectionKind::try_from(rejected.kind) {
        Ok(pb::peer::RejectionKind::Invalid) => RejectionKind::Invalid,
        Ok(pb::peer::RejectionKind::TooLarge) => RejectionKind::TooLarge,
        Ok(pb::peer::RejectionKind::Unauthenticated) => RejectionKind::Unauthenticated,
        Ok(pb::peer::RejectionKind::Forbidden) => RejectionKind::Forbidden,
        Ok(pb::peer::RejectionKind::Missing) => RejectionKind::Missing,
        Ok(pb::peer::RejectionKind::Conflict) => RejectionKind::Conflict,
        Err(_) => return Err(DecodeError::Field("kind")),
    };
    Ok(Rejection::new(kind, rejected.sentence))
}
