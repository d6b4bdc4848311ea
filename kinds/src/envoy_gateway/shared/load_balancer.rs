//! How an endpoint is chosen.

use std::collections::BTreeMap;

use serde_json::Value;
use smol_str::SmolStr;

use super::{records, words};
use crate::gateway::Duration;

records! {
    LoadBalancer {
        #[serde(rename = "type")]
        kind: Option<LoadBalancerType>,
        consistent_hash: Option<ConsistentHash>,
        endpoint_override: Option<EndpointOverride>,
        slow_start: Option<SlowStart>,
        zone_aware: Option<ZoneAware>,
        backend_utilization: Option<BackendUtilization>,
        dynamic_module: Option<DynamicModuleLoadBalancer>,
    }

    ConsistentHash {
        #[serde(rename = "type")]
        kind: Option<ConsistentHashType>,
        header: Option<HashName>,
        headers: Vec<HashName>,
        query_params: Vec<HashName>,
        cookie: Option<HashCookie>,
        table_size: Option<u64>,
    }

    HashName {
        name: SmolStr,
    }

    HashCookie {
        name: SmolStr,
        ttl: Option<Duration>,
        attributes: BTreeMap<SmolStr, SmolStr>,
    }

    EndpointOverride {
        extract_from: Vec<EndpointOverrideSource>,
    }

    EndpointOverrideSource {
        header: Option<SmolStr>,
    }

    SlowStart {
        window: Option<Duration>,
    }

    ZoneAware {
        prefer_local: Option<PreferLocalZone>,
        weighted_zones: Vec<WeightedZone>,
    }

    PreferLocalZone {
        min_endpoints_threshold: Option<u64>,
        force: Option<ForceLocalZone>,
        percentage_enabled: Option<u32>,
    }

    ForceLocalZone {
        min_endpoints_in_zone_threshold: Option<u32>,
    }

    WeightedZone {
        zone: SmolStr,
        weight: u32,
    }

    BackendUtilization {
        blackout_period: Option<Duration>,
        weight_expiration_period: Option<Duration>,
        weight_update_period: Option<Duration>,
        error_utilization_penalty_percent: Option<u32>,
        metric_names_for_computing_utilization: Vec<SmolStr>,
        keep_response_headers: Option<bool>,
        out_of_band: Option<OutOfBand>,
    }

    OutOfBand {
        port: Option<u16>,
        authority: Option<SmolStr>,
        reporting_period: Option<Duration>,
    }

    DynamicModuleLoadBalancer {
        name: SmolStr,
        lb_policy_name: SmolStr,
        config: Option<Value>,
    }
}

words! {
    LoadBalancerType {
        ConsistentHash,
        LeastRequest,
        Random,
        RoundRobin,
        BackendUtilization,
        DynamicModule,
    }

    ConsistentHashType {
        #[serde(rename = "SourceIP")]
        SourceIp,
        Header,
        Headers,
        Cookie,
        QueryParams,
    }
}
