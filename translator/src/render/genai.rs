//! Statistics of requests to models: counters and histograms of Envoy's own, made by an access logger.
//!
//! Labels come from the configuration: the model as a rule names it, the backend, the route. What a client sends is never
//! one, so that nobody can make up series.

use xds_api::any;
use xds_api::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use xds_api::envoy::config::accesslog::v3::{AccessLog, AccessLogFilter, MetadataFilter, access_log::ConfigType};
use xds_api::envoy::extensions::access_loggers::stats::v3::Config;
use xds_api::envoy::extensions::access_loggers::stats::v3::config::{Counter, Histogram, Stat, Tag, histogram::Unit};
use xds_api::envoy::r#type::matcher::v3::metadata_matcher::{PathSegment, path_segment::Segment};
use xds_api::envoy::r#type::matcher::v3::{
    DoubleMatcher, MetadataMatcher, ValueMatcher, double_matcher, value_matcher::MatchPattern,
};
use xds_api::envoy::r#type::v3::{DoubleRange, Scope};
use xds_api::google::protobuf::UInt64Value;

use crate::ai::{COSTS, METADATA};
use crate::render::build::boolean;

/// A cost under this name is counted as money: millionths of a dollar.
const MONEY: &str = "microdollars";

/// What is counted of each request whose answer was counted.
const TOKENS: [(&str, &str); 2] = [("input_tokens", "input"), ("output_tokens", "output")];

/// What is counted where there is some of it: a counter and its labels cost a request a few microseconds.
const SOME: [(&str, &str); 2] = [("cached_input_tokens", "cached"), ("reasoning_tokens", "reasoning")];

fn tokens(name: &str, field: &str) -> Counter {
    counter(name, &format!("%DYNAMIC_METADATA({METADATA}:tokens:{field})%"))
}

pub(crate) fn statistics() -> [AccessLog; 5] {
    let tokens = TOKENS.map(|(name, field)| tokens(name, field));
    let requests = Counter { value_fixed: Some(UInt64Value { value: 1 }), ..counter("requests", "") };
    let every = Config {
        counters: tokens.into_iter().chain([requests]).collect(),
        histograms: vec![histogram("request_duration", Unit::Milliseconds, "%DURATION%")],
        ..Config::default()
    };
    let first = "%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:ms)%";
    let pace = format!("%DYNAMIC_METADATA({METADATA}:pace)%");
    let streams = Config {
        histograms: vec![
            histogram("time_to_first_token", Unit::Milliseconds, first),
            histogram("time_per_output_token", Unit::Microseconds, &pace),
        ],
        ..Config::default()
    };
    let money = Config {
        counters: vec![counter("cost_microdollars", &format!("%DYNAMIC_METADATA({COSTS}:{MONEY})%"))],
        ..Config::default()
    };
    let [cached, reasoning] = SOME.map(|(name, field)| {
        let config = Config { counters: vec![self::tokens(name, field)], ..Config::default() };
        log(config, METADATA, &["tokens", field], some())
    });
    let noted = || MatchPattern::PresentMatch(true);
    [
        log(every, METADATA, &["tokens", "input"], noted()),
        cached,
        reasoning,
        log(streams, METADATA, &["pace"], noted()),
        log(money, COSTS, &[MONEY], noted()),
    ]
}

/// A number above 0.
fn some() -> MatchPattern {
    let range = DoubleRange { start: 0.5, end: f64::MAX };
    MatchPattern::DoubleMatch(DoubleMatcher { match_pattern: Some(double_matcher::MatchPattern::Range(range)) })
}

fn stat(name: &str) -> Option<Stat> {
    let tag = |name: &str, value: String| Tag { name: name.to_owned(), value_format: value, ..Tag::default() };
    let told = |field: &str| format!("%METADATA(ROUTE:{}:{field})%", crate::ai::USAGE);
    Some(Stat {
        name: name.to_owned(),
        tags: vec![
            tag("gen_ai_request_model", told("model")),
            tag("gen_ai_backend", format!("%DYNAMIC_METADATA({METADATA}:backend)%")),
            tag("gen_ai_route", told("route")),
        ],
    })
}

fn counter(name: &str, value: &str) -> Counter {
    Counter { stat: stat(name), value_format: value.to_owned(), ..Counter::default() }
}

fn histogram(name: &str, unit: Unit, value: &str) -> Histogram {
    Histogram { stat: stat(name), unit: unit as i32, value_format: value.to_owned() }
}

/// For requests of which something is noted.
fn log(config: Config, namespace: &str, path: &[&str], value: MatchPattern) -> AccessLog {
    let segment = |key: &&str| PathSegment { segment: Some(Segment::Key((*key).to_owned())) };
    let noted = MetadataFilter {
        matcher: Some(MetadataMatcher {
            filter: namespace.to_owned(),
            path: path.iter().map(segment).collect(),
            value: Some(ValueMatcher { match_pattern: Some(value) }),
            ..MetadataMatcher::default()
        }),
        match_if_key_not_found: Some(boolean(false)),
    };
    let stats_scope = Some(Scope { prefix: "gen_ai".to_owned(), ..Scope::default() });
    AccessLog {
        name: "envoy.access_loggers.stats".to_owned(),
        filter: Some(AccessLogFilter { filter_specifier: Some(FilterSpecifier::MetadataFilter(noted)) }),
        config_type: Some(ConfigType::TypedConfig(any(&Config { stats_scope, ..config }))),
    }
}
