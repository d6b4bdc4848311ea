//! Snapshots and the wire: the xDS server a large fleet can hang on.
//!
//! ```text
//! publish(group, change) -> state of each type (persistent map, versions by content) -> streams, each a state machine
//! ```
//!
//! It knows no resource kind of any user: it ships encoded resources by type and name. A *group* is the set of Envoys that
//! run one Gateway; states belong to groups. A stream remembers which state it was sent, not what was in it, so that an
//! Envoy in step costs a pointer. The protocol ([`protocol`]) takes messages and returns messages: no sockets, no clock.

mod access;
mod csds;
mod error;
mod fleet;
mod metrics;
mod protocol;
mod server;
mod snapshot;
mod tls;
mod wire;

pub use access::{Access, AccessRule};
pub use error::Error;
pub use fleet::{Client, Fleet, HeldBack, Progress, Rejection, Standing, TypeProgress};
pub use metrics::{Metrics, Withheld};
pub use server::{Server, ServerOptions, listen};
pub use snapshot::{Apart, Change, GroupKey, Keeper, Snapshots};
pub use tls::{Tls, TlsError, TlsFiles};
