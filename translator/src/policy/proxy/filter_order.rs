//! The order of filters, as a proxy configuration changes it.

use kinds::FieldPath;
use kinds::envoy_gateway::FilterOrder;
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

use super::Additions;
use crate::policy::Problem;
use crate::render::filters::limits;

/// Envoy's name of a filter, and the one under which it is installed.
const INSTALLED: [(&str, &str); 17] = [
    ("envoy.filters.http.custom_response", "chancery.traffic.answers"),
    ("envoy.filters.http.health_check", "envoy.filters.http.health_check"),
    ("envoy.filters.http.fault", "envoy.filters.http.fault"),
    ("envoy.filters.http.cors", "envoy.filters.http.cors"),
    ("envoy.filters.http.csrf", "envoy.filters.http.csrf"),
    ("envoy.filters.http.header_mutation", "envoy.filters.http.header_mutation"),
    ("envoy.filters.http.ext_authz", "chancery.guards.ext_auth"),
    ("envoy.filters.http.api_key_auth", "chancery.guards.keys"),
    ("envoy.filters.http.basic_auth", "chancery.guards.keys"),
    ("envoy.filters.http.oauth2", "chancery.guards.login"),
    ("envoy.filters.http.jwt_authn", "chancery.guards.tokens"),
    ("envoy.filters.http.buffer", "chancery.traffic.buffer"),
    ("envoy.filters.http.rbac", "envoy.filters.http.rbac"),
    ("envoy.filters.http.grpc_web", "envoy.filters.http.grpc_web"),
    ("envoy.filters.http.local_ratelimit", "envoy.filters.http.local_ratelimit"),
    ("envoy.filters.http.ratelimit", "envoy.filters.http.ratelimit"),
    ("envoy.filters.http.compressor", "chancery.traffic.compression"),
];

fn installed(name: &str) -> Option<&'static str> {
    INSTALLED.iter().find(|(known, _)| *known == name).map(|(_, installed)| *installed)
}

pub(super) fn apply(orders: &[FilterOrder], filters: &mut Vec<HttpFilter>, additions: &mut Additions) {
    let base = FieldPath::from("spec.filterOrder");
    for (index, order) in orders.iter().enumerate() {
        let (field, other, behind) = match (&order.before, &order.after) {
            (Some(before), _) => ("before", before, false),
            (None, Some(after)) => ("after", after, true),
            (None, None) => continue,
        };
        let path = base.index(index);
        let (Some(name), Some(anchor)) = (installed(&order.name), installed(other)) else {
            let field = if installed(&order.name).is_none() { "name" } else { field };
            let message = "the filter has a place of its own that cannot be changed";
            additions.problems.push(Problem::unsupported(path.field(field), message));
            continue;
        };
        // A filter that is not installed has no place to move from or to.
        let Some(from) = filters.iter().position(|filter| filter.name == name) else { continue };
        let moved = filters.remove(from);
        let to = filters.iter().position(|filter| filter.name == anchor).map_or(from, |at| at + usize::from(behind));
        filters.insert(to, moved);
    }
    together(filters);
}

/// The rate limit filter is there twice, one for each way of doing without its service.
fn together(filters: &mut Vec<HttpFilter>) {
    let Some(from) = filters.iter().position(|filter| filter.name == limits::CLOSED) else { return };
    let closed = filters.remove(from);
    let open = filters.iter().position(|filter| filter.name == limits::OPEN);
    filters.insert(open.map_or(from, |at| at + 1), closed);
}
