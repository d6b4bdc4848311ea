//! The filters of AI routes: scripts that act only where a route has orders for them.

use xds_api::any;
use xds_api::envoy::config::core::v3::{DataSource, data_source};
use xds_api::envoy::extensions::filters::http::lua::v3::Lua;
use xds_api::envoy::extensions::filters::http::on_demand::v3::OnDemand;
use xds_api::google::protobuf::{Any, Struct};

use crate::render::build::boolean;

/// Reads the model.
pub(crate) const MODEL: &str = "chancery.model";
/// Fetches tables.
pub(crate) const ON_DEMAND: &str = "envoy.filters.http.on_demand";
/// Finds the table of models that have none of their own.
pub(crate) const OTHER: &str = "chancery.other_models";
/// Counts tokens.
pub(crate) const USAGE: &str = "chancery.usage";
/// Passes over backends whose quotas are spent. Apart from what counts: a script that looks at requests costs each one.
pub(crate) const QUOTAS: &str = "chancery.quotas";
/// The dynamic metadata of a request to a model.
pub(crate) const METADATA: &str = "chancery.ai";

const SCAN: &str = include_str!("lua/scan.lua");
const FORM: &str = include_str!("lua/form.lua");
const MODEL_SCRIPT: &str = include_str!("lua/model.lua");
const OTHER_SCRIPT: &str = include_str!("lua/other.lua");
const USAGE_SCRIPT: &str = include_str!("lua/usage.lua");
const QUOTAS_SCRIPT: &str = include_str!("lua/quotas.lua");
const KEEP_OWN_KEYS_SCRIPT: &str = include_str!("lua/keep_own_keys.lua");
const OWN_KEY_SCRIPT: &str = include_str!("lua/own_key.lua");
const LOAD_REPORTS_SCRIPT: &str = include_str!("lua/load_reports.lua");
const UPSTREAM_SCRIPT: &str = include_str!("lua/upstream.lua");

/// The script says itself when the route is to be looked for again.
fn lua(source: String) -> Any {
    lua_about(source, None)
}

/// With what the script is to know.
fn lua_about(source: String, filter_context: Option<Struct>) -> Any {
    any(&Lua {
        filter_context,
        default_source_code: Some(DataSource {
            specifier: Some(data_source::Specifier::InlineString(source)),
            ..DataSource::default()
        }),
        clear_route_cache: Some(boolean(false)),
        ..Lua::default()
    })
}

pub(crate) fn install_model() -> (&'static str, Any) {
    (MODEL, lua(format!("{SCAN}\n{FORM}\n{MODEL_SCRIPT}")))
}

/// Fetches the table of a model when the first request for it comes.
pub(crate) fn install_on_demand() -> (&'static str, Any) {
    (ON_DEMAND, any(&OnDemand::default()))
}

pub(crate) fn install_other() -> (&'static str, Any) {
    (OTHER, lua(OTHER_SCRIPT.to_owned()))
}

pub(crate) fn install_usage() -> (&'static str, Any) {
    (USAGE, lua(format!("{SCAN}\n{USAGE_SCRIPT}")))
}

pub(crate) fn install_quotas() -> (&'static str, Any) {
    (QUOTAS, lua(QUOTAS_SCRIPT.to_owned()))
}

/// The filter of an AI cluster that makes the edits.
pub(crate) fn upstream() -> Any {
    lua(format!("{SCAN}\n{FORM}\n{UPSTREAM_SCRIPT}"))
}

/// The filter of a cluster that is balanced by what its servers report.
pub(crate) fn load_reports() -> Any {
    lua(LOAD_REPORTS_SCRIPT.to_owned())
}

pub(crate) fn keep_own_keys(context: Struct) -> Any {
    lua_about(KEEP_OWN_KEYS_SCRIPT.to_owned(), Some(context))
}

pub(crate) fn own_key(context: Struct) -> Any {
    lua_about(OWN_KEY_SCRIPT.to_owned(), Some(context))
}
