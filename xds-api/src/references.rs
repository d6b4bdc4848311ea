//! Which other resources a resource names: what has to be there before it is of any use.
//!
//! [`TABLE`] says which fields hold names. The walk looks into every `Any` and skips whatever leads to no such field.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use prost_reflect::{Kind, MessageDescriptor};

use crate::wire::{Malformed, Raw, any, next, slice_of};
use crate::{Resource, ResourceType, pool};

/// A field that holds the name of a resource, if the source beside it says that it is fetched as one.
struct Row(&'static str, &'static str, ResourceType, Source);

/// Where a name is looked up.
#[derive(Clone, Copy)]
enum Source {
    /// Among what the control plane sends.
    Always,
    /// There if the `ConfigSource` at these fields of the same message is the stream.
    Beside(&'static [&'static str]),
}

use ResourceType::{Cluster, Endpoints, ExtensionConfig, RouteConfiguration, Secret};
use Source::{Always, Beside};

#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row("envoy.config.route.v3.RouteAction", "cluster", Cluster, Always),
    Row("envoy.config.route.v3.RouteAction.RequestMirrorPolicy", "cluster", Cluster, Always),
    Row("envoy.config.route.v3.WeightedCluster.ClusterWeight", "name", Cluster, Always),
    Row("envoy.config.core.v3.GrpcService.EnvoyGrpc", "cluster_name", Cluster, Always),
    Row("envoy.config.core.v3.HttpUri", "cluster", Cluster, Always),
    Row("envoy.config.trace.v3.ZipkinConfig", "collector_cluster", Cluster, Always),
    Row("envoy.config.trace.v3.DatadogConfig", "collector_cluster", Cluster, Always),
    Row("envoy.extensions.access_loggers.fluentd.v3.FluentdAccessLogConfig", "cluster", Cluster, Always),
    Row("envoy.extensions.clusters.aggregate.v3.ClusterConfig", "clusters", Cluster, Always),
    Row("envoy.extensions.filters.http.gcp_authn.v3.GcpAuthnFilterConfig", "cluster", Cluster, Always),
    Row("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "cluster", Cluster, Always),
    Row("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight", "name", Cluster, Always),
    Row("envoy.extensions.filters.udp.udp_proxy.v3.Route", "cluster", Cluster, Always),
    Row("envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig", "cluster", Cluster, Always),
    Row("envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig", "default_cluster", Cluster, Always),
    Row("envoy.extensions.router.cluster_specifiers.matcher.v3.ClusterAction", "cluster", Cluster, Always),
    Row("envoy.extensions.router.cluster_specifiers.priority_group.v3.ClusterWeight", "cluster_name", Cluster, Always),
    Row("envoy.config.cluster.v3.Cluster.EdsClusterConfig", "service_name", Endpoints, Beside(&["eds_config"])),
    Row("envoy.extensions.filters.network.http_connection_manager.v3.Rds", "route_config_name", RouteConfiguration, Beside(&["config_source"])),
    Row("envoy.config.route.v3.ScopedRouteConfiguration", "route_configuration_name", RouteConfiguration, Always),
    Row("envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig", "name", Secret, Beside(&["sds_config"])),
    Row("envoy.config.listener.v3.Filter", "name", ExtensionConfig, Beside(&["config_discovery", "config_source"])),
    Row("envoy.config.listener.v3.ListenerFilter", "name", ExtensionConfig, Beside(&["config_discovery", "config_source"])),
    Row("envoy.config.cluster.v3.Filter", "name", ExtensionConfig, Beside(&["config_discovery", "config_source"])),
    Row("envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter", "name", ExtensionConfig, Beside(&["config_discovery", "config_source"])),
    Row("envoy.extensions.filters.http.composite.v3.DynamicConfig", "name", ExtensionConfig, Beside(&["config_discovery", "config_source"])),
];

/// The names that a resource needs, each once, in order. Bytes that are no message name nothing.
#[must_use]
pub fn references(resource: &Resource) -> Vec<(ResourceType, Arc<str>)> {
    let plans = Plans::shared();
    let mut found = Found { plans, own_name: &resource.name, names: BTreeSet::new() };
    if let Some(plan) = plans.named(resource.kind.message_name()) {
        // What was found before the damage counts.
        let _ = found.message(plan, &resource.body, 0);
    }
    found.names.into_iter().map(|(kind, name)| (kind, Arc::from(name))).collect()
}

struct Found<'a> {
    plans: &'static Plans,
    own_name: &'a str,
    names: BTreeSet<(ResourceType, &'a str)>,
}

/// Deeper than any real configuration.
const TOO_DEEP: u32 = 100;

impl<'a> Found<'a> {
    fn message(&mut self, plan: &Plan, bytes: &'a [u8], depth: u32) -> Result<(), Malformed> {
        if depth > TOO_DEEP {
            return Ok(());
        }
        let mut names = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (number, raw) = next(&mut rest)?;
            let (Raw::Slice(content), Some(step)) = (raw, plan.steps.get(&number)) else { continue };
            match step {
                Step::Name(_) => names.push((number, content)),
                Step::Message(index) => {
                    if let Some(plan) = self.plans.messages.get(*index) {
                        self.message(plan, content, depth + 1)?;
                    }
                }
                Step::Any => {
                    let (url, content) = any(content)?;
                    if let Some(plan) = self.plans.named(url.rsplit('/').next().unwrap_or_default()) {
                        self.message(plan, content, depth + 1)?;
                    }
                }
            }
        }
        if plan.may_be_unnamed && names.is_empty() {
            // Endpoints without a name of their own are those of the cluster's name.
            names.push((plan.steps.keys().copied().next().unwrap_or_default(), self.own_name.as_bytes()));
        }
        for (number, name) in names {
            let Some(Step::Name(naming)) = plan.steps.get(&number) else { continue };
            let name = std::str::from_utf8(name).map_err(|_| Malformed)?;
            if !name.is_empty() && naming.over_the_stream(bytes)? {
                self.names.insert((naming.kind, name));
            }
        }
        Ok(())
    }
}

/// What of a message leads to names.
#[derive(Default)]
struct Plan {
    steps: BTreeMap<u32, Step>,
    may_be_unnamed: bool,
}

enum Step {
    Name(Naming),
    Message(usize),
    Any,
}

struct Naming {
    kind: ResourceType,
    /// The numbers of the fields that lead to the source; empty when there is none.
    source: Vec<u32>,
}

/// The fields of `ConfigSource` that mean the stream itself.
const STREAM: [u32; 2] = [3, 5];

impl Naming {
    fn over_the_stream(&self, bytes: &[u8]) -> Result<bool, Malformed> {
        if self.source.is_empty() {
            return Ok(true);
        }
        let mut source = bytes;
        for number in &self.source {
            match slice_of(source, *number)? {
                Some(content) => source = content,
                None => return Ok(false),
            }
        }
        for number in STREAM {
            if slice_of(source, number)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

struct Plans {
    messages: Vec<Plan>,
    by_name: BTreeMap<String, usize>,
}

impl Plans {
    fn shared() -> &'static Self {
        static PLANS: LazyLock<Plans> = LazyLock::new(Plans::read);
        &PLANS
    }

    fn named(&self, name: &str) -> Option<&Plan> {
        self.by_name.get(name).and_then(|index| self.messages.get(*index))
    }

    fn read() -> Self {
        let descriptors: Vec<MessageDescriptor> = pool().all_messages().collect();
        let by_name: BTreeMap<String, usize> =
            descriptors.iter().enumerate().map(|(index, message)| (message.full_name().to_owned(), index)).collect();
        let mut messages: Vec<Plan> = descriptors.iter().map(|message| plan(message, &by_name)).collect();
        // Fields that lead nowhere go, until nothing more can go.
        loop {
            let leads: Vec<bool> = messages.iter().map(|plan| !plan.steps.is_empty()).collect();
            let mut changed = false;
            for plan in &mut messages {
                let before = plan.steps.len();
                plan.steps.retain(|_, step| match step {
                    Step::Message(index) => leads.get(*index).copied().unwrap_or(false),
                    Step::Name(_) | Step::Any => true,
                });
                changed |= plan.steps.len() != before;
            }
            if !changed {
                return Self { messages, by_name };
            }
        }
    }
}

fn plan(message: &MessageDescriptor, by_name: &BTreeMap<String, usize>) -> Plan {
    let mut plan = Plan::default();
    if message.full_name() == "google.protobuf.Any" {
        return plan;
    }
    for field in message.fields() {
        if let Kind::Message(inside) = field.kind() {
            let step = match (inside.full_name(), by_name.get(inside.full_name())) {
                ("google.protobuf.Any", _) => Step::Any,
                (_, Some(index)) => Step::Message(*index),
                (_, None) => continue,
            };
            plan.steps.insert(field.number(), step);
        }
    }
    for Row(of, field, kind, source) in TABLE.iter().filter(|Row(of, ..)| *of == message.full_name()) {
        let Some(number) = message.get_field_by_name(field).map(|field| field.number()) else { continue };
        let source = match source {
            Always => Vec::new(),
            Beside(path) => numbers(message, path),
        };
        plan.steps.insert(number, Step::Name(Naming { kind: *kind, source }));
        plan.may_be_unnamed = *of == "envoy.config.cluster.v3.Cluster.EdsClusterConfig";
    }
    if plan.may_be_unnamed {
        plan.steps.retain(|_, step| matches!(step, Step::Name(_)));
    }
    plan
}

fn numbers(message: &MessageDescriptor, path: &[&str]) -> Vec<u32> {
    let mut at = Some(message.clone());
    let step = |name: &&str| {
        let field = at.as_ref()?.get_field_by_name(name)?;
        at = field.kind().as_message().cloned();
        Some(field.number())
    };
    path.iter().map_while(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_yaml;

    fn of(kind: ResourceType, yaml: &str) -> Vec<(ResourceType, String)> {
        let resources = from_yaml(kind, yaml).unwrap();
        references(&resources[0]).into_iter().map(|(kind, name)| (kind, name.to_string())).collect()
    }

    #[test]
    fn every_row_is_a_field_of_the_api() {
        for Row(message, field, kind, source) in TABLE {
            let descriptor = crate::message(message).unwrap();
            assert!(descriptor.get_field_by_name(field).is_some(), "{message}.{field} names {kind:?}");
            if let Beside(path) = source {
                assert_eq!(numbers(&descriptor, path).len(), path.len(), "{message}: {path:?}");
            }
        }
    }

    #[test]
    fn clusters_name_their_endpoints_and_secrets() {
        let found = of(
            ResourceType::Cluster,
            r#"
name: a
type: EDS
eds_cluster_config: {eds_config: {ads: {}}}
transport_socket:
  name: tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    common_tls_context:
      tls_certificate_sds_secret_configs: [{name: pair, sds_config: {ads: {}}}, {name: from-a-file, sds_config: {path_config_source: {path: /x}}}]
"#,
        );
        assert_eq!(found, [(Endpoints, "a".to_owned()), (Secret, "pair".to_owned())]);
        let named =
            of(ResourceType::Cluster, "{name: a, eds_cluster_config: {service_name: b, eds_config: {ads: {}}}}");
        assert_eq!(named, [(Endpoints, "b".to_owned())]);
        assert_eq!(of(ResourceType::Cluster, "{name: a, type: STATIC}"), []);
    }

    #[test]
    fn routes_name_clusters_however_deep() {
        let found = of(
            ResourceType::RouteConfiguration,
            r#"
name: t
virtual_hosts:
- name: v
  domains: ['*']
  routes:
  - match: {prefix: /a}
    route:
      weighted_clusters: {clusters: [{name: one, weight: 1}, {name: two, weight: 1}]}
      request_mirror_policies: [{cluster: mirror}]
  - match: {prefix: /}
    route: {cluster: three}
    typed_per_filter_config:
      ext:
        "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute
        overrides: {grpc_service: {envoy_grpc: {cluster_name: picker}}}
"#,
        );
        let names: Vec<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["mirror", "one", "picker", "three", "two"]);
    }

    #[test]
    fn listeners_name_tables_and_extensions() {
        let found = of(
            ResourceType::Listener,
            r#"
name: l
filter_chains:
- filters:
  - name: hcm
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: l
      rds: {route_config_name: table, config_source: {ads: {}}}
      http_filters:
      - {name: discovered, config_discovery: {config_source: {ads: {}}, type_urls: [type.googleapis.com/x]}}
"#,
        );
        assert_eq!(found, [(ExtensionConfig, "discovered".to_owned()), (RouteConfiguration, "table".to_owned())]);
        let scope = of(
            ResourceType::ScopedRoute,
            "{name: s, route_configuration_name: t, key: {fragments: [{string_key: k}]}}",
        );
        assert_eq!(scope, [(RouteConfiguration, "t".to_owned())]);
    }
}
