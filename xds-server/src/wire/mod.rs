//! Bytes on sockets: gRPC over HTTP/2, without a copy for each stream.

pub(crate) mod alarm;
pub(crate) mod body;
mod deframe;
pub(crate) mod methods;
pub(crate) mod request;
