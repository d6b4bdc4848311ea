//! Leads a request whose host has no table of its own to the table of wildcard hostnames.
//!
//! A scope is found by an exact, case-sensitive key, and there is no default scope. So this filter brings the key to lower
//! case without the port that the host may carry, which goes on to the server, and takes the key of the default table when no route was found. Every route of ours carries the marker
//! [`MARKER`], and a table of exact hostnames ends with a route that answers 404, so that a host which has a table never
//! falls through to wildcards.

use xds_api::any;
use xds_api::envoy::config::core::v3::{DataSource, Metadata, data_source};
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

/// The metadata by which a route is known to have been found.
pub(crate) fn marker() -> Metadata {
    let found = Value { kind: Some(value::Kind::BoolValue(true)) };
    let fields = Struct { fields: [(MARKER.to_owned(), found)].into() };
    Metadata { filter_metadata: [(NAME.to_owned(), fields)].into(), ..Metadata::default() }
}
