//! EnvoyProxy: how the proxies of a Gateway run, as far as the control plane says it to them.
//!
//! A Gateway names one in `infrastructure.parametersRef`, and its class may name one too: the Gateway's is in force, laid
//! over the class's if it asks to be merged.

mod access_log;
pub(crate) mod backend_tls;
mod filter_order;
mod tracing;

use kinds::envoy_gateway::shared::ClusterSettings;
use kinds::envoy_gateway::{EnvoyProxySpec, MergeType, ProxyMetrics};
use kinds::gateway::GatewaySpec;
use kinds::{Diagnostic, FieldPath, Kind, ObjectId};
use xds_api::envoy::config::listener::v3::Listener;
use xds_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;

use super::Problem;
use super::extension::{Upstream, Written};
use crate::diagnostics::place;
use crate::engine::{Outcome, Product, View};
use crate::graph::{Target, Verdict};
use crate::names::{Authority, Chain};
use crate::status::{Condition, Status};

pub(super) type Proxy<'a> = Written<'a, EnvoyProxySpec>;

/// The EnvoyProxies in force for a Gateway: its own, then its class's where the two are merged.
pub(crate) fn chain_for(gateway: &ObjectId, view: &View<'_>) -> Option<Chain> {
    let allowed = |source: &ObjectId, path: &str| match view.reference(source, path) {
        Some(edge) if edge.verdict == Verdict::Allowed => match &edge.target {
            Target::Object(id) => (id.kind == Kind::EnvoyProxy).then(|| id.clone()),
            Target::Unsupported { .. } => None,
        },
        _ => None,
    };
    let spec = view.spec::<GatewaySpec>(gateway)?;
    let own = allowed(gateway, "spec.infrastructure.parametersRef");
    let class = ObjectId::new(Kind::GatewayClass, "", spec.gateway_class_name.clone());
    let of_class = allowed(&class, "spec.parametersRef");
    let merges = |id: &ObjectId| {
        let merge = view.spec::<EnvoyProxySpec>(id).and_then(|spec| spec.merge_type);
        matches!(merge, Some(MergeType::StrategicMerge | MergeType::JsonMerge))
    };
    match (own, of_class) {
        (Some(own), Some(class)) if merges(&own) => Some(Chain(vec![own, class])),
        (Some(own), _) => Some(Chain(vec![own])),
        (None, class) => class.map(|class| Chain(vec![class])),
    }
}

/// What a proxy configuration adds to a connection manager and to its listener, and whom it makes Envoy call.
#[derive(Default)]
pub(crate) struct Additions {
    pub upstreams: Vec<Upstream>,
    pub problems: Vec<Problem>,
}

impl Additions {
    pub(crate) fn apply_to_http(&mut self, proxy: &Proxy<'_>, hcm: &mut HttpConnectionManager) {
        hcm.access_log.extend(access_log::of(proxy, access_log::Level::Route, self));
        tracing::apply(proxy, hcm, self);
        filter_order::apply(&proxy.spec.filter_order, &mut hcm.http_filters, self);
    }

    pub(crate) fn apply_to_listener(&mut self, proxy: &Proxy<'_>, listener: &mut Listener) {
        listener.access_log.extend(access_log::of(proxy, access_log::Level::Listener, self));
    }

    fn keep<T>(&mut self, made: Result<T, Problem>) -> Option<T> {
        match made {
            Ok(made) => Some(made),
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    /// The cluster of a service, by its backends or, in the older form, by host and port.
    fn cluster(
        &mut self,
        proxy: &Proxy<'_>,
        backends: &kinds::envoy_gateway::shared::ExtensionBackends,
        host: Option<(&str, u16)>,
        path: &FieldPath,
        http2: bool,
    ) -> Option<String> {
        let part = path.as_str().trim_start_matches("spec.").to_owned();
        let resolved = proxy.backends(backends, path, &part, http2);
        let external = host.map(|(host, port)| Authority { host: host.into(), port, tls: false, http2 });
        let upstream = self.keep(resolved)?.or(external.map(Upstream::External));
        let Some(upstream) = upstream else {
            self.problems.push(Problem::wrong(path.field("backendRefs"), "no backend is named"));
            return None;
        };
        let name = upstream.name();
        self.upstreams.push(upstream);
        Some(name)
    }
}

/// The settings of a service that the proxies call.
pub(crate) fn backend_settings(spec: &EnvoyProxySpec, part: &str) -> Option<ClusterSettings> {
    let telemetry = spec.telemetry.as_ref()?;
    if part == "telemetry.tracing.provider" {
        return telemetry.tracing.as_ref()?.provider.backends.backend_settings.clone();
    }
    let base = FieldPath::from("telemetry.accessLog.settings");
    let settings = telemetry.access_log.as_ref()?.settings.iter().enumerate();
    let sinks = settings.flat_map(|(index, settings)| {
        let base = base.index(index).field("sinks");
        settings.sinks.iter().enumerate().map(move |(index, sink)| (base.index(index), sink))
    });
    for (path, sink) in sinks {
        if let Some(als) = sink.als.as_ref().filter(|_| path.field("als").as_str() == part) {
            return als.backends.backend_settings.clone();
        }
        if let Some(otel) = sink.open_telemetry.as_ref().filter(|_| path.field("openTelemetry").as_str() == part) {
            return otel.backends.backend_settings.clone();
        }
    }
    None
}

/// Fields that ask for what stock Envoy, or this control plane, does not do.
fn unsupported(spec: &EnvoyProxySpec) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut refuse = |asked: bool, path: &str, message: &str| {
        if asked {
            found.push(Problem::unsupported(path, message));
        }
    };
    refuse(spec.merge_gateways == Some(true), "spec.mergeGateways", "each Gateway has Envoys of its own");
    refuse(spec.routing_type.as_deref() == Some("Service"), "spec.routingType", "requests go to endpoints");
    let says = |value: &Option<serde_json::Value>, field: &str, word: &str| {
        value.as_ref().and_then(|value| value.get(field)).and_then(|found| found.as_str()) == Some(word)
    };
    refuse(says(&spec.provider, "type", "Host"), "spec.provider.type", "Envoys run in a cluster, or are run by others");
    refuse(
        says(&spec.bootstrap, "type", "JSONPatch"),
        "spec.bootstrap.type",
        "a bootstrap is merged or replaced, not patched by path",
    );
    refuse(!spec.dynamic_modules.is_empty(), "spec.dynamicModules", "no module is loaded into the proxies");
    refuse(spec.geo_ip.is_some(), "spec.geoIP", "no GeoIP database is read");
    refuse(
        spec.preserve_route_order == Some(true),
        "spec.preserveRouteOrder",
        "routes stand in the order of Gateway API",
    );
    let ipv6 = spec.ip_family.as_deref().is_some_and(|family| family != "IPv4");
    refuse(ipv6, "spec.ipFamily", "listeners are bound to IPv4 addresses");
    let metrics = spec.telemetry.as_ref().and_then(|telemetry| telemetry.metrics.as_ref());
    refuse(
        metrics.is_some_and(|metrics| !metrics.sinks.is_empty()),
        "spec.telemetry.metrics.sinks",
        "sinks of metrics are part of the bootstrap: scrape the proxies",
    );
    refuse(
        metrics.is_some_and(|metrics| metrics.enable_virtual_host_stats == Some(true)),
        "spec.telemetry.metrics.enableVirtualHostStats",
        "hosts have no statistics of their own: give routes a name by telemetry.metrics.routeStatName",
    );
    let counted = |asked: fn(&ProxyMetrics) -> Option<bool>| metrics.and_then(asked) == Some(true);
    refuse(
        counted(|metrics| metrics.enable_per_endpoint_stats),
        "spec.telemetry.metrics.enablePerEndpointStats",
        "clusters have no statistics for each endpoint",
    );
    refuse(
        counted(|metrics| metrics.enable_request_response_sizes_stats),
        "spec.telemetry.metrics.enableRequestResponseSizesStats",
        "clusters have no statistics of sizes",
    );
    refuse(
        counted(|metrics| metrics.enable_grpc_stats),
        "spec.telemetry.metrics.enableGRPCStats",
        "calls are not counted apart",
    );
    refuse(
        metrics.is_some_and(|metrics| metrics.cluster_stat_name.is_some()),
        "spec.telemetry.metrics.clusterStatName",
        "clusters are counted by their names",
    );
    refuse(
        spec.telemetry.as_ref().is_some_and(|telemetry| telemetry.health_check_log.is_some()),
        "spec.telemetry.healthCheckLog",
        "set healthCheck.active.healthCheckLog of a BackendTrafficPolicy",
    );
    found
}

/// The verdict on an EnvoyProxy by itself. It is said wherever it is used; one that nobody uses says so.
pub(crate) fn status(id: &ObjectId, view: &View<'_>) -> Outcome {
    let Some(object) = view.object(id) else { return Outcome::default() };
    let chain = Chain(vec![id.clone()]);
    let Some(proxy) = Proxy::read(&chain, view) else { return Outcome::default() };
    let mut additions = Additions { problems: unsupported(&proxy.spec), ..Additions::default() };
    additions.apply_to_http(
        &proxy,
        &mut HttpConnectionManager { http_filters: crate::render::filters::chain(false), ..<_>::default() },
    );
    additions.apply_to_listener(&proxy, &mut Listener::default());
    let mut problems = additions.problems;
    problems.extend(backend_tls::problems(&proxy));
    problems.dedup();
    let finding = |problem: &Problem| {
        let code = if problem.unsupported { "unsupported-field" } else { "invalid-proxy" };
        Diagnostic::error(code, place(object, problem.path.as_str()), problem.message.clone())
            .about(id)
            .help("the rest of the object is in force")
    };
    let diagnostics = problems.iter().map(finding).collect();
    let condition = if problems.is_empty() {
        Condition::yes("Accepted", "Accepted", "every field is in force")
    } else {
        let words: Vec<_> = problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
        Condition::no("Accepted", "InvalidParameters", words.join("; "))
    };
    let status = Status { generation: object.meta.generation, conditions: vec![condition], ..Status::default() };
    Outcome { product: Product::Status(status.into()), demands: Vec::new(), diagnostics }
}
