//! AI routes: requests are routed by the model that their body names.
//!
//! ```text
//! host table --pre-route of an API's path--> chancery.model reads the body --> scope of the model --> table of the model
//!                                                                          \-> no such scope: table of all other models
//! table of a model --> cluster of a backend, or of several that take over from each other --> edits for each attempt
//! ```
//!
//! Every filter that guards a request stands behind the one that reads the body, so that it takes its orders from the route
//! of the model, and none can be passed by a route chosen late.
//!
//! A cluster is one for a backend, never for a model: what a model wants changed travels with the request, in a header that
//! the cluster's own filters take away.

mod api;
mod attached;
mod backends;
mod cluster;
mod costs;
mod credentials;
mod edits;
mod expression;
mod filters;
mod host;
mod kgateway;
mod local_reply;
mod own_key;
mod pool;
mod pre_route;
mod quota;
mod tables;
mod wishes;

pub(crate) use attached::{AiRules, evaluate as evaluate_attached};
pub(crate) use backends::{problem as backend_problem, resolve as resolve_share};
pub(crate) use cluster::{complete as complete_cluster, discovery, localities, makes};
pub(crate) use costs::{COSTS, Costs, Estimate, problems as cost_problems};
pub(crate) use credentials::unsupported as unsupported_credential;
pub(crate) use expression::to_lua as cost_expression;
pub(crate) use filters::{
    METADATA, OTHER, QUOTAS, USAGE, install_model, install_on_demand, install_other, install_quotas, install_usage,
};
pub(crate) use host::{HostModels, Listing, evaluate as evaluate_host, evaluate_list, many as many_models};
pub(crate) use kgateway::token as kgateway_token;
pub(crate) use local_reply::openai_shaped;
pub(crate) use pool::install as install_picker;
pub(crate) use pre_route::{Known as KnownModels, routes as pre_routes, text as orders_text};
pub(crate) use tables::{ModelKey, evaluate_scope, evaluate_table};
pub(crate) use wishes::{Wishes, usable};
