//! Every field of the kinds that are no policies of Envoy Gateway, held against the official schemas: it is read by the
//! types, or the table of what is not read says why.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod schemas;

use std::collections::BTreeSet;

use kinds::ai::{
    AiGatewayRouteSpec, AiServiceBackendSpec, BackendSecurityPolicySpec, GatewayConfigSpec, QuotaPolicySpec,
};
use kinds::envoy_gateway::{BackendSpec, EnvoyExtensionPolicySpec, EnvoyPatchPolicySpec, HttpRouteFilterSpec};
use kinds::gateway::{
    BackendTlsPolicySpec, GatewayClassSpec, GatewaySpec, GrpcRouteSpec, HttpRouteSpec, ListenerSetSpec,
    ReferenceGrantSpec, TcpRouteSpec, TlsRouteSpec, UdpRouteSpec,
};
use kinds::inference::InferencePoolSpec;
use kinds::{Kind, UNREAD};
use schemas::{fields, sample, schema};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The fields of a value that a type does not read.
fn unread<T: DeserializeOwned>(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let read: Result<T, _> = serde_ignored::deserialize(value, |path| {
        let path = path.to_string();
        let steps = path.split('.').filter(|step| step.parse::<usize>().is_err() && *step != "?");
        found.insert(steps.collect::<Vec<_>>().join("."));
    });
    if let Err(error) = read {
        panic!("{error}: {value}");
    }
    found
}

type Reader = fn(&Value) -> BTreeSet<String>;

const KINDS: [(Kind, Reader); 20] = [
    (Kind::GatewayClass, unread::<GatewayClassSpec>),
    (Kind::Gateway, unread::<GatewaySpec>),
    (Kind::ListenerSet, unread::<ListenerSetSpec>),
    (Kind::HttpRoute, unread::<HttpRouteSpec>),
    (Kind::GrpcRoute, unread::<GrpcRouteSpec>),
    (Kind::TlsRoute, unread::<TlsRouteSpec>),
    (Kind::TcpRoute, unread::<TcpRouteSpec>),
    (Kind::UdpRoute, unread::<UdpRouteSpec>),
    (Kind::ReferenceGrant, unread::<ReferenceGrantSpec>),
    (Kind::BackendTlsPolicy, unread::<BackendTlsPolicySpec>),
    (Kind::Backend, unread::<BackendSpec>),
    (Kind::HttpRouteFilter, unread::<HttpRouteFilterSpec>),
    (Kind::EnvoyPatchPolicy, unread::<EnvoyPatchPolicySpec>),
    (Kind::EnvoyExtensionPolicy, unread::<EnvoyExtensionPolicySpec>),
    (Kind::AiGatewayRoute, unread::<AiGatewayRouteSpec>),
    (Kind::AiServiceBackend, unread::<AiServiceBackendSpec>),
    (Kind::BackendSecurityPolicy, unread::<BackendSecurityPolicySpec>),
    (Kind::GatewayConfig, unread::<GatewayConfigSpec>),
    (Kind::QuotaPolicy, unread::<QuotaPolicySpec>),
    (Kind::InferencePool, unread::<InferencePoolSpec>),
];

fn is_at_or_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[test]
fn every_field_is_read_or_in_the_table() {
    let mut unaccounted = Vec::new();
    let mut unknown: Vec<&(Kind, &str, &str)> = Vec::new();
    for (kind, reader) in KINDS {
        let schema = schema(kind);
        let mut all = BTreeSet::new();
        fields(&schema, "", &mut all);
        let rows = || UNREAD.iter().filter(|(of, _, _)| *of == kind);
        let unread = reader(&sample(&schema)).into_iter();
        unaccounted.extend(
            unread.filter(|path| !rows().any(|(_, top, _)| is_at_or_below(path, top))).map(|path| (kind, path)),
        );
        unknown.extend(rows().filter(|(_, top, _)| !all.contains(*top)));
    }
    assert!(unaccounted.is_empty(), "neither read nor in the table: {unaccounted:#?}");
    assert!(unknown.is_empty(), "in the table, and no such field: {unknown:?}");
}
