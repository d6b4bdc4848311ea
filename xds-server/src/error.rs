//! What can go wrong with a stream, in the statuses of gRPC.

use thiserror::Error;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    #[error("the first full load has not ended: try again")]
    NotReady,
    #[error("the first message of a stream must carry a node with cluster NAMESPACE/NAME of its Gateway")]
    NoNode,
    #[error("{0}")]
    InvalidRequest(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    TooMuch(String),
    #[error("this server drains: connect again")]
    Draining,
    #[error("no such method")]
    NoSuchMethod,
}

impl Error {
    /// The gRPC status code. Envoy is quiet about the codes that say "try again".
    pub(crate) fn grpc_code(&self) -> u16 {
        match self {
            Self::NotReady | Self::Draining => 14,
            Self::NoNode | Self::InvalidRequest(_) => 3,
            Self::Forbidden(_) => 7,
            Self::TooMuch(_) => 8,
            Self::NoSuchMethod => 12,
        }
    }
}
