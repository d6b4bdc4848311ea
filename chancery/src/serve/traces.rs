//! A change on its way, as a trace: from the file event to the last acknowledgement.
//!
//! ```text
//! change ─┬─ read         until the source has put a batch together
//!         ├─ translate
//!         ├─ publish
//!         └─ deliver      one for each Gateway, until the last of its Envoys has acknowledged
//! ```
//!
//! Spans are made afterwards, with the times that were noted: a change waits for nothing of this.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use opentelemetry::trace::{Span as _, SpanBuilder, TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::sync::mpsc;
use xds_server::{Fleet, GroupKey};

/// What happened to a change, and when.
#[derive(Debug)]
pub(super) struct Journey {
    /// The first sign of it.
    pub noticed: SystemTime,
    /// The batch has come to the translation.
    pub received: SystemTime,
    pub translated: SystemTime,
    pub published: SystemTime,
    pub objects: usize,
    pub resources: usize,
    pub gateways: Vec<GroupKey>,
}

/// Where journeys are told.
#[derive(Debug)]
pub(super) struct Traces {
    journeys: mpsc::Sender<Journey>,
}

/// What is to be ended in good order.
#[derive(Debug)]
pub(super) struct Exporting {
    provider: SdkTracerProvider,
    following: tokio::task::JoinHandle<()>,
}

/// Journeys that are followed at the same time; further ones leave no trace.
const MOST: usize = 64;
/// How often an unfinished delivery is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// An Envoy that has nothing to acknowledge says nothing: it is known after this.
const SILENCE: Duration = Duration::from_millis(50);
/// A delivery that takes longer is told as it stands.
const PATIENCE: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(2);

impl Traces {
    /// Traces go to a collector that speaks OTLP over gRPC.
    pub(super) fn start(endpoint: &str, fleet: Fleet) -> anyhow::Result<(Self, Exporting)> {
        anyhow::ensure!(
            endpoint.starts_with("http://"),
            "traces go to a collector near by, in plain text: {endpoint} is no http:// address"
        );
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build();
        let exporter = exporter.with_context(|| format!("traces cannot be sent to {endpoint}"))?;
        let resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let resource = match std::env::var_os("OTEL_SERVICE_NAME") {
            Some(_) => resource.build(),
            None => resource.with_service_name("chancery").build(),
        };
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let (journeys, told) = mpsc::channel(MOST);
        let following = tokio::spawn(follow(told, provider.tracer("chancery"), fleet));
        tracing::info!(endpoint, "changes are traced");
        Ok((Self { journeys }, Exporting { provider, following }))
    }

    pub(super) fn tell(&self, journey: Journey) {
        if self.journeys.try_send(journey).is_err() {
            tracing::debug!("a change leaves no trace: too many are on their way");
        }
    }
}

impl Exporting {
    pub(super) async fn end(self) {
        self.following.abort();
        let provider = self.provider;
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(END));
        if let Ok(Err(error)) = ended.await {
            tracing::debug!(%error, "traces are not sent");
        }
    }
}

async fn follow(mut told: mpsc::Receiver<Journey>, tracer: SdkTracer, fleet: Fleet) {
    let mut on_the_way = tokio::task::JoinSet::new();
    while let Some(journey) = told.recv().await {
        while on_the_way.try_join_next().is_some() {}
        if on_the_way.len() < MOST {
            let (tracer, fleet) = (tracer.clone(), fleet.clone());
            on_the_way.spawn(async move { write(&journey, &tracer, &fleet).await });
        }
    }
    while on_the_way.join_next().await.is_some() {}
}

async fn write(journey: &Journey, tracer: &SdkTracer, fleet: &Fleet) {
    let mut deliveries = Vec::new();
    for gateway in &journey.gateways {
        deliveries.push(delivery(journey, gateway, fleet).await);
    }
    let last = deliveries.iter().map(|delivery| delivery.end).fold(journey.published, SystemTime::max);
    let attributes = [count("chancery.objects", journey.objects), count("chancery.resources", journey.resources)];
    let root = builder("change", journey.noticed).with_attributes(attributes);
    let context = Context::new().with_span(root.start_with_context(tracer, &Context::new()));
    let child = |builder: SpanBuilder, end| builder.start_with_context(tracer, &context).end_with_timestamp(end);
    child(builder("read", journey.noticed), journey.received);
    child(builder("translate", journey.received), journey.translated);
    child(builder("publish", journey.translated), journey.published);
    for delivery in deliveries {
        let attributes = [
            KeyValue::new("chancery.gateway", delivery.gateway),
            count("chancery.envoys", delivery.envoys),
            KeyValue::new("chancery.in_step", delivery.in_step),
        ];
        child(builder("deliver", journey.published).with_attributes(attributes), delivery.end);
    }
    context.span().end_with_timestamp(last);
}

fn builder(name: &'static str, start: SystemTime) -> SpanBuilder {
    SpanBuilder::from_name(name).with_start_time(start)
}

fn count(key: &'static str, count: usize) -> KeyValue {
    KeyValue::new(key, i64::try_from(count).unwrap_or(i64::MAX))
}

struct Delivery {
    gateway: String,
    envoys: usize,
    in_step: bool,
    end: SystemTime,
}

/// Waits until every Envoy of a Gateway has acknowledged, and says when the last one did.
async fn delivery(journey: &Journey, gateway: &GroupKey, fleet: &Fleet) -> Delivery {
    let begin = tokio::time::Instant::now();
    let mut quiet_since: Option<(tokio::time::Instant, SystemTime)> = None;
    loop {
        let standing = fleet.standings().remove(gateway).unwrap_or_default();
        let last = standing.last_acknowledgement.unwrap_or(journey.published);
        let in_step = standing.in_step == standing.connected;
        let now = tokio::time::Instant::now();
        quiet_since = match quiet_since {
            Some((since, seen)) if in_step && seen == last => Some((since, seen)),
            _ => in_step.then_some((now, last)),
        };
        let done = quiet_since.is_some_and(|(since, _)| now - since >= SILENCE);
        if standing.connected == 0 || done || now - begin >= PATIENCE {
            let gateway = gateway.as_str().to_owned();
            return Delivery { gateway, envoys: standing.connected, in_step, end: last.max(journey.published) };
        }
        tokio::time::sleep(LOOK).await;
    }
}
