//! How an endpoint is chosen.

use std::collections::BTreeMap;

use kinds::FieldPath;
use kinds::envoy_gateway::shared::{BackendUtilization, LoadBalancer, LoadBalancerType, SlowStart, ZoneAware};
use smol_str::SmolStr;
use xds_api::any;
use xds_api::envoy::config::cluster::v3::LoadBalancingPolicy;
use xds_api::envoy::config::cluster::v3::load_balancing_policy;
use xds_api::envoy::config::core::v3::RuntimeDouble;
use xds_api::envoy::extensions::load_balancing_policies::client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin;
use xds_api::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config::zone_aware_lb_config::ForceLocalZone;
use xds_api::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config::{
    LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
};
use xds_api::envoy::extensions::load_balancing_policies::common::v3::{
    LocalityLbConfig, OrcaOobReportingConfig, SlowStartConfig,
};
use xds_api::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use xds_api::envoy::extensions::load_balancing_policies::maglev::v3::Maglev;
use xds_api::envoy::extensions::load_balancing_policies::override_host::v3::OverrideHost;
use xds_api::envoy::extensions::load_balancing_policies::override_host::v3::override_host::OverrideHostSource;
use xds_api::envoy::extensions::load_balancing_policies::random::v3::Random;
use xds_api::envoy::extensions::load_balancing_policies::round_robin::v3::RoundRobin;
use xds_api::envoy::r#type::v3::Percent;
use xds_api::google::protobuf::{Any, FloatValue, UInt64Value};

use crate::policy::Problem;
use crate::render::build::{boolean, duration, extension, uint32};

/// Envoy leaves a zone only where a cluster has this many endpoints.
const MIN_ENDPOINTS: u64 = 6;

pub(super) fn problems(written: &LoadBalancer, path: &FieldPath) -> Vec<Problem> {
    let mut found = Vec::new();
    if written.kind == Some(LoadBalancerType::DynamicModule) || written.dynamic_module.is_some() {
        let message = "no module is loaded into the proxies";
        found.push(Problem::unsupported(path.field("dynamicModule"), message));
    }
    let hashing = written.kind == Some(LoadBalancerType::ConsistentHash);
    if hashing && written.zone_aware.as_ref().is_some_and(|zones| zones.prefer_local.is_some()) {
        let message = "an endpoint found by hash lies in whatever zone it lies";
        found.push(Problem::unsupported(path.field("zoneAware").field("preferLocal"), message));
    }
    found
}

pub(super) fn policy(written: &LoadBalancer) -> LoadBalancingPolicy {
    let chosen = one(chosen(written));
    match &written.endpoint_override {
        None => chosen,
        Some(endpoint) => {
            let sources = endpoint.extract_from.iter().filter_map(|from| from.header.as_ref());
            one(extension_of(
                "envoy.load_balancing_policies.override_host",
                any(&OverrideHost {
                    override_host_sources: sources
                        .map(|header| OverrideHostSource {
                            header: header.to_string(),
                            ..OverrideHostSource::default()
                        })
                        .collect(),
                    fallback_policy: Some(chosen),
                    ..OverrideHost::default()
                }),
            ))
        }
    }
}

type Named = (&'static str, Any);

fn extension_of(name: &'static str, config: Any) -> Named {
    (name, config)
}

fn one((name, config): Named) -> LoadBalancingPolicy {
    LoadBalancingPolicy {
        policies: vec![load_balancing_policy::Policy { typed_extension_config: Some(extension(name, config)) }],
    }
}

fn chosen(written: &LoadBalancer) -> Named {
    let zones = written.zone_aware.as_ref();
    let locality = zones.and_then(locality);
    let slow_start = written.slow_start.as_ref().and_then(slow_start);
    match written.kind.unwrap_or(LoadBalancerType::LeastRequest) {
        LoadBalancerType::LeastRequest | LoadBalancerType::DynamicModule => (
            "envoy.load_balancing_policies.least_request",
            any(&LeastRequest {
                locality_lb_config: locality,
                slow_start_config: slow_start,
                ..LeastRequest::default()
            }),
        ),
        LoadBalancerType::RoundRobin => (
            "envoy.load_balancing_policies.round_robin",
            any(&RoundRobin { locality_lb_config: locality, slow_start_config: slow_start }),
        ),
        LoadBalancerType::Random => {
            ("envoy.load_balancing_policies.random", any(&Random { locality_lb_config: locality }))
        }
        LoadBalancerType::ConsistentHash => {
            let size = written.consistent_hash.as_ref().and_then(|hash| hash.table_size);
            let weighted = zones.is_some_and(|zones| !zones.weighted_zones.is_empty());
            (
                "envoy.load_balancing_policies.maglev",
                any(&Maglev {
                    table_size: size.map(|value| UInt64Value { value }),
                    locality_weighted_lb_config: weighted.then(LocalityWeightedLbConfig::default),
                    ..Maglev::default()
                }),
            )
        }
        LoadBalancerType::BackendUtilization => {
            let load = written.backend_utilization.clone().unwrap_or_default();
            ("envoy.load_balancing_policies.client_side_weighted_round_robin", any(&by_load(&load, slow_start)))
        }
    }
}

fn by_load(written: &BackendUtilization, slow_start_config: Option<SlowStartConfig>) -> ClientSideWeightedRoundRobin {
    let out_of_band = written.out_of_band.as_ref();
    ClientSideWeightedRoundRobin {
        enable_oob_load_report: out_of_band.map(|_| boolean(true)),
        oob_reporting_period: out_of_band.and_then(|oob| oob.reporting_period).map(|time| duration(time.0)),
        oob_reporting_config: out_of_band.filter(|oob| oob.port.is_some() || oob.authority.is_some()).map(|oob| {
            OrcaOobReportingConfig {
                port_value: oob.port.map(u32::from).unwrap_or_default(),
                authority: oob.authority.as_ref().map(ToString::to_string).unwrap_or_default(),
                ..OrcaOobReportingConfig::default()
            }
        }),
        blackout_period: written.blackout_period.map(|time| duration(time.0)),
        weight_expiration_period: written.weight_expiration_period.map(|time| duration(time.0)),
        weight_update_period: written.weight_update_period.map(|time| duration(time.0)),
        error_utilization_penalty: written.error_utilization_penalty_percent.map(|percent| {
            let hundredths = u16::try_from(percent).unwrap_or(u16::MAX);
            FloatValue { value: f32::from(hundredths) / 100.0 }
        }),
        metric_names_for_computing_utilization: written
            .metric_names_for_computing_utilization
            .iter()
            .map(ToString::to_string)
            .collect(),
        slow_start_config,
    }
}

fn slow_start(written: &SlowStart) -> Option<SlowStartConfig> {
    let window = written.window?;
    Some(SlowStartConfig {
        slow_start_window: Some(duration(window.0)),
        aggression: None::<RuntimeDouble>,
        min_weight_percent: None,
    })
}

fn locality(written: &ZoneAware) -> Option<LocalityLbConfig> {
    let specifier = if let Some(local) = &written.prefer_local {
        LocalityConfigSpecifier::ZoneAwareLbConfig(ZoneAwareLbConfig {
            routing_enabled: local.percentage_enabled.map(|percent| Percent { value: f64::from(percent) }),
            min_cluster_size: Some(UInt64Value { value: local.min_endpoints_threshold.unwrap_or(MIN_ENDPOINTS) }),
            force_local_zone: local
                .force
                .as_ref()
                .map(|force| ForceLocalZone { min_size: force.min_endpoints_in_zone_threshold.map(uint32) }),
            ..ZoneAwareLbConfig::default()
        })
    } else if written.weighted_zones.is_empty() {
        return None;
    } else {
        LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {})
    };
    Some(LocalityLbConfig { locality_config_specifier: Some(specifier) })
}

/// The shares of zones, by name. A zone that is not listed has the share 1.
pub(crate) fn zone_weights(written: Option<&LoadBalancer>) -> BTreeMap<SmolStr, u32> {
    let zones = written.and_then(|balancer| balancer.zone_aware.as_ref());
    zones.into_iter().flat_map(|zones| &zones.weighted_zones).map(|zone| (zone.zone.clone(), zone.weight)).collect()
}
