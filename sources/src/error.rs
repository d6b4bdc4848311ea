//! What keeps a source from starting.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no way to an API server: {0}")]
    Config(#[from] kube::config::InferConfigError),
    #[error("no connection to the API server: {0}")]
    Client(#[source] Box<kube::Error>),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Client(Box::new(error))
    }
}
