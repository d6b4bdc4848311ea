//! What is measured. Labels are types, variants and outcomes: their number does not grow with the fleet.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use xds_api::ResourceType;

use crate::Snapshots;
use crate::fleet::short_name;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfType {
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfVariant {
    variant: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCode {
    code: u16,
}

/// One set of metrics for each server. Counting is lock-free: each type has its own handles.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    by_type: Vec<TypeMetrics>,
    streams: Family<OfVariant, Gauge>,
    ended: Family<OfCode, Counter>,
    refused_connections: Counter,
    families: Families,
}

#[derive(Debug)]
struct Families {
    pushes: Family<OfType, Counter>,
    bytes: Family<OfType, Counter>,
    acknowledged: Family<OfType, Counter>,
    rejected: Family<OfType, Counter>,
    latency: Family<OfType, Histogram, fn() -> Histogram>,
}

#[derive(Debug)]
struct TypeMetrics {
    pushes: Counter,
    bytes: Counter,
    acknowledged: Counter,
    rejected: Counter,
    latency: Histogram,
}

/// From half a millisecond to half a minute.
fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.0, 17))
}

impl Default for Metrics {
    fn default() -> Self {
        let families = Families {
            pushes: Family::default(),
            bytes: Family::default(),
            acknowledged: Family::default(),
            rejected: Family::default(),
            latency: Family::new_with_constructor(latency),
        };
        let of = |kind: ResourceType| {
            let label = OfType { r#type: short_name(kind) };
            TypeMetrics {
                pushes: families.pushes.get_or_create_owned(&label),
                bytes: families.bytes.get_or_create_owned(&label),
                acknowledged: families.acknowledged.get_or_create_owned(&label),
                rejected: families.rejected.get_or_create_owned(&label),
                latency: families.latency.get_or_create_owned(&label),
            }
        };
        let by_type = ResourceType::ALL.into_iter().map(of).collect();
        let (streams, ended, refused_connections) = Default::default();
        Self(Arc::new(Inner { by_type, streams, ended, refused_connections, families }))
    }
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        let Inner { families, streams, ended, refused_connections, .. } = &*self.0;
        registry.register(
            "xds_change_to_ack_seconds",
            "From a change of the configuration to an Envoy's acknowledgement",
            families.latency.clone(),
        );
        registry.register("xds_pushes", "Responses sent", families.pushes.clone());
        registry.register("xds_push_bytes", "Bytes of responses sent", families.bytes.clone());
        registry.register("xds_acknowledged", "Responses acknowledged", families.acknowledged.clone());
        registry.register("xds_rejected", "Responses rejected", families.rejected.clone());
        registry.register("xds_streams", "Open streams", streams.clone());
        registry.register("xds_streams_ended", "Ended streams by gRPC status", ended.clone());
        registry.register(
            "xds_refused_connections",
            "Connections without a TLS handshake",
            refused_connections.clone(),
        );
    }

    fn of(&self, kind: ResourceType) -> Option<&TypeMetrics> {
        self.0.by_type.get(kind as usize)
    }

    pub(crate) fn pushed(&self, kind: ResourceType, bytes: usize) {
        if let Some(metrics) = self.of(kind) {
            metrics.pushes.inc();
            metrics.bytes.inc_by(bytes as u64);
        }
    }

    pub(crate) fn acknowledged(&self, kind: ResourceType, took: Duration) {
        if let Some(metrics) = self.of(kind) {
            metrics.acknowledged.inc();
            metrics.latency.observe(took.as_secs_f64());
        }
    }

    pub(crate) fn rejected(&self, kind: ResourceType) {
        if let Some(metrics) = self.of(kind) {
            metrics.rejected.inc();
        }
    }

    pub(crate) fn streams(&self, variant: &'static str) -> Gauge {
        self.0.streams.get_or_create_owned(&OfVariant { variant })
    }

    pub(crate) fn ended(&self, code: u16) {
        self.0.ended.get_or_create(&OfCode { code }).inc();
    }

    pub(crate) fn refused_connection(&self) {
        self.0.refused_connections.inc();
    }
}

/// How many resources that Envoys rejected are named.
const MOST_NAMED: usize = 100;

/// What of the snapshots does not reach Envoys as it was published: counted when somebody asks.
#[derive(Debug)]
pub struct Withheld(pub Snapshots);

impl Collector for Withheld {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let rejections = self.0.rejections();
        let count = ConstGauge::new(i64::try_from(rejections.len()).unwrap_or(i64::MAX));
        let help = "Resources that are set aside because an Envoy rejected them";
        count.encode(encoder.encode_descriptor("xds_set_aside_resources", help, None, MetricType::Gauge)?)?;
        let help = "1 for each resource that is set aside, up to a hundred";
        let mut named = encoder.encode_descriptor("xds_set_aside", help, None, MetricType::Gauge)?;
        for rejection in rejections.iter().take(MOST_NAMED) {
            let labels = [
                ("gateway", rejection.gateway.as_str()),
                ("type", short_name(rejection.kind)),
                ("name", &rejection.name),
            ];
            ConstGauge::new(1_i64).encode(named.encode_family(&labels)?)?;
        }
        let mut held: BTreeMap<&str, i64> = ResourceType::ALL.into_iter().map(|kind| (short_name(kind), 0)).collect();
        for back in self.0.held_back() {
            *held.entry(short_name(back.kind)).or_default() += 1;
        }
        let help = "Resources whose newest content, or removal, is held back because a name would dangle";
        let mut counts = encoder.encode_descriptor("xds_held_back", help, None, MetricType::Gauge)?;
        for (kind, count) in held {
            ConstGauge::new(count).encode(counts.encode_family(&[("type", kind)])?)?;
        }
        Ok(())
    }
}
