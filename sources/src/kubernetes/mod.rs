//! A Kubernetes API server.
//!
//! ```text
//! definitions -> what is served -> a watch for each kind -> store -> (settle) -> batch of changes
//!                                                            ^ Secrets and ConfigMaps that something mentions
//! ```
//!
//! Invariants: nothing is said before every kind that is there has been listed; what an object does not mean (its status,
//! who owns which field) is no change of it; an object that cannot be read costs only itself.

mod backoff;
mod discovery;
mod events;
mod feed;
mod follow;
mod lease;
mod reach;
mod read;
mod replicas;
mod status;
mod store;
mod watch;

pub use events::{Remark, Remarks, Speaker, report};
pub use follow::follow;
pub use kube::Client;
pub use lease::{LeaseOptions, campaign};
pub use reach::Reach;
pub use replicas::{Words, converse};
pub use status::{Board, GATEWAY_NAME, Wanted, WriterOptions, write};

use smol_str::SmolStr;

use crate::{Batch, Error};

/// Which objects are looked at.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// None for all. Objects that belong to no namespace are looked at in any case.
    pub namespaces: Vec<SmolStr>,
    /// A label selector for what users write; Services, Secrets and the like are looked at whatever their labels.
    pub labels: Option<String>,
}

/// How long a connection may take to come about.
const CONNECT: std::time::Duration = std::time::Duration::from_secs(5);

/// A client by the file that `KUBECONFIG` names or that is in its usual place, or else by the identity of the pod we are.
pub async fn connect() -> Result<Client, Error> {
    let mut config = kube::Config::infer().await?;
    config.connect_timeout = Some(CONNECT);
    Ok(Client::try_from(config)?)
}

/// Everything as it is now; none when it could not be read as a whole.
pub async fn snapshot(scope: Scope) -> Result<Option<Batch>, Error> {
    let (batches, mut received) = tokio::sync::mpsc::channel(1);
    let client = connect().await?;
    let following = tokio::spawn(follow(client, scope, Board::default(), Reach::default(), batches));
    let batch = received.recv().await;
    following.abort();
    Ok(batch)
}
