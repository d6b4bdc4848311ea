//! Leads a request whose host has no table of its own to the table of wildcard hostnames.
//!
//! A scope is found by an exact, case-sensitive key, and there is no default scope. So this filter brings the key to lower
//! case without the port that the host may carry, which goes on to the server, and takes the key of the default table when no route was found. Every route of ours carries the marker
//! [`MARKER`], and a table of exact hostnames ends with a route that answers 404, so that a host which has a table never
//! falls through to wildcards.

use std::sync::LazyLock;

use bytes::Bytes;
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use xds_api::any;
use xds_api::envoy::config::core::v3::{DataSource, Metadata, data_source};
use xds_api::envoy::config::route::v3::Route;
use xds_api::envoy::extensions::filters::http::lua::v3::Lua;
use xds_api::google::protobuf::{Any, Struct, Value, value};

/// The header that chooses the route table. Only the listener itself ever sets it.
pub(crate) const SCOPE_HEADER: &str = "x-chancery-scope";
/// What stands for the hostname in the key of the default table.
pub(crate) const DEFAULT_HOST: &str = "*";

const NAME: &str = "chancery.table_fallback";
const MARKER: &str = "route";

const SCRIPT: &str = r#"
function envoy_on_request(h)
  local headers = h:headers()
  local key = headers:get("x-chancery-scope")
  if key == nil then return end
  if string.find(key, "[%u:]") then
    local lower = string.gsub(string.lower(key), ":%d+$", "")
    if lower ~= key then
      key = lower
      headers:replace("x-chancery-scope", key)
      h:clearRouteCache()
    end
  end
  if h:metadata():get("route") == nil then
    headers:replace("x-chancery-scope", string.match(key, "^[^|]*|") .. "*")
    h:clearRouteCache()
  end
end
"#;

pub(super) fn install() -> (&'static str, Any) {
    let lua = Lua {
        default_source_code: Some(DataSource {
            specifier: Some(data_source::Specifier::InlineString(SCRIPT.trim_start().to_owned())),
            ..DataSource::default()
        }),
        clear_route_cache: Some(crate::render::build::boolean(false)),
        ..Lua::default()
    };
    (NAME, any(&lua))
}

/// A route of a host's table, encoded, with the metadata by which it is known to have been found.
pub(crate) fn found(mut route: Route) -> Bytes {
    if let Some(metadata) = &mut route.metadata {
        metadata.filter_metadata.extend(marker().filter_metadata);
        return route.encode_to_vec().into();
    }
    // Almost all routes say just that: it is encoded once for all of them.
    let rest = route.encode_to_vec();
    let (before, behind) = rest.split_at(metadata_place(&rest));
    [before, &ENCODED_MARKER, behind].concat().into()
}

fn marker() -> Metadata {
    let found = Value { kind: Some(value::Kind::BoolValue(true)) };
    let fields = Struct { fields: [(MARKER.to_owned(), found)].into() };
    Metadata { filter_metadata: [(NAME.to_owned(), fields)].into(), ..Metadata::default() }
}

/// The fields of Envoy's `Route` that are written before its metadata: `match` and the actions, of which there is one.
const BEFORE_METADATA: [u32; 6] = [1, 2, 3, 7, 17, 18];

static ENCODED_MARKER: LazyLock<Vec<u8>> =
    LazyLock::new(|| Route { metadata: Some(marker()), ..Route::default() }.encode_to_vec());

fn metadata_place(encoded: &[u8]) -> usize {
    let mut rest = encoded;
    loop {
        let begin = rest.len();
        let passed = match decode_key(&mut rest) {
            Ok((field, wire)) if BEFORE_METADATA.contains(&field) => {
                skip_field(wire, field, &mut rest, DecodeContext::default()).is_ok()
            }
            _ => false,
        };
        if !passed {
            return encoded.len() - begin;
        }
    }
}

#[cfg(test)]
mod tests {
    use xds_api::envoy::config::route::v3::route::Action;
    use xds_api::envoy::config::route::v3::{DirectResponseAction, RedirectAction, RouteAction, RouteMatch};

    use super::*;

    #[test]
    fn the_marker_stands_where_an_encoder_would_put_it() {
        let actions = [
            None,
            Some(Action::Route(RouteAction::default())),
            Some(Action::Redirect(RedirectAction { host_redirect: "h".repeat(300), ..RedirectAction::default() })),
            Some(Action::DirectResponse(DirectResponseAction { status: 404, ..DirectResponseAction::default() })),
        ];
        for action in actions {
            let route = Route { name: "n".into(), r#match: Some(RouteMatch::default()), action, ..Route::default() };
            let marked = Route { metadata: Some(marker()), ..route.clone() };
            assert_eq!(found(route), marked.encode_to_vec());
            assert_eq!(found(marked.clone()), marked.encode_to_vec());
        }
    }
}
