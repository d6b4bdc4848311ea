//! Envoy resources: one file for each sort, and one for each filter.

pub(crate) mod backend_tls;
pub(crate) mod build;
pub(crate) mod cel;
pub(crate) mod cluster;
pub(crate) mod downstream_tls;
pub(crate) mod dynamic;
pub(crate) mod encoded_table;
pub(crate) mod endpoints;
pub(crate) mod external;
pub(crate) mod filters;
mod genai;
mod http;
pub(crate) mod listener;
pub(crate) mod matcher;
pub(crate) mod scope;
pub(crate) mod secret;
pub(crate) mod table;
pub(crate) mod upstream_tls;
