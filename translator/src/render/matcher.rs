//! Match trees: conditions on a request, each with what follows from it; the first that holds decides.

use xds_api::any;
use xds_api::cel::expr::ParsedExpr;
use xds_api::envoy::config::core::v3::{CidrRange, RuntimeFractionalPercent};
use xds_api::envoy::extensions::matching::common_inputs::network::v3::dynamic_metadata_input::{
    PathSegment, path_segment::Segment,
};
use xds_api::envoy::extensions::matching::common_inputs::network::v3::{
    DynamicMetadataInput, SourceIpInput, SourcePortInput,
};
use xds_api::envoy::extensions::matching::input_matchers::ip::v3::Ip;
use xds_api::envoy::extensions::matching::input_matchers::metadata::v3::Metadata;
use xds_api::envoy::extensions::matching::input_matchers::runtime_fraction::v3::RuntimeFraction;
use xds_api::envoy::r#type::matcher::v3::{HttpRequestHeaderMatchInput, ValueMatcher};
use xds_api::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use xds_api::google::protobuf::Any;
use xds_api::xds::core::v3::TypedExtensionConfig;
use xds_api::xds::r#type::matcher::v3::matcher::matcher_list::predicate::{
    MatchType, PredicateList, SinglePredicate, single_predicate,
};
use xds_api::xds::r#type::matcher::v3::matcher::matcher_list::{FieldMatcher, Predicate};
use xds_api::xds::r#type::matcher::v3::matcher::{MatcherList, MatcherType, OnMatch, on_match};
use xds_api::xds::r#type::matcher::v3::regex_matcher::{EngineType, GoogleRe2};
use xds_api::xds::r#type::matcher::v3::string_matcher::MatchPattern;
use xds_api::xds::r#type::matcher::v3::{
    CelMatcher, HttpAttributesCelMatchInput, Matcher, RegexMatcher, StringMatcher,
};
use xds_api::xds::r#type::v3::CelExpression;

fn extension(name: &str, config: Any) -> TypedExtensionConfig {
    TypedExtensionConfig { name: name.to_owned(), typed_config: Some(config) }
}

fn on(name: &str, action: Any) -> OnMatch {
    OnMatch { on_match: Some(on_match::OnMatch::Action(extension(name, action))), ..OnMatch::default() }
}

/// Always the same, whatever the request.
pub(crate) fn always(action: Any) -> Matcher {
    Matcher { on_no_match: Some(Box::new(on("action", action))), ..Matcher::default() }
}

/// The first condition that holds decides; `otherwise` where none does.
pub(crate) fn first_of(rules: Vec<(Predicate, Any)>, otherwise: Option<Any>) -> Matcher {
    let matchers = rules
        .into_iter()
        .map(|(predicate, action)| FieldMatcher { predicate: Some(predicate), on_match: Some(on("action", action)) });
    let list = MatcherList { matchers: matchers.collect() };
    Matcher {
        matcher_type: (!list.matchers.is_empty()).then_some(MatcherType::MatcherList(list)),
        on_no_match: otherwise.map(|action| Box::new(on("action", action))),
    }
}

fn of(match_type: MatchType) -> Predicate {
    Predicate { match_type: Some(match_type) }
}

fn combine(mut all: Vec<Predicate>, how: fn(PredicateList) -> MatchType) -> Option<Predicate> {
    if all.len() > 1 { Some(of(how(PredicateList { predicate: all }))) } else { all.pop() }
}

/// None where there is nothing to ask.
pub(crate) fn all(conditions: Vec<Predicate>) -> Option<Predicate> {
    combine(conditions, MatchType::AndMatcher)
}

pub(crate) fn any_of(conditions: Vec<Predicate>) -> Option<Predicate> {
    combine(conditions, MatchType::OrMatcher)
}

pub(crate) fn not(condition: Predicate) -> Predicate {
    of(MatchType::NotMatcher(Box::new(condition)))
}

fn single(name: &str, input: Any, matcher: single_predicate::Matcher) -> Predicate {
    of(MatchType::SinglePredicate(SinglePredicate { input: Some(extension(name, input)), matcher: Some(matcher) }))
}

/// About so many millionths of sources, chosen by their ports. Seeds make choices that follow one another independent.
pub(crate) fn share_of_sources(millionths: u32, seed: u64) -> Predicate {
    let fraction = FractionalPercent { numerator: millionths, denominator: DenominatorType::Million as i32 };
    let matcher = RuntimeFraction {
        runtime_fraction: Some(RuntimeFractionalPercent {
            default_value: Some(fraction),
            runtime_key: "chancery.share".to_owned(),
        }),
        seed,
    };
    let custom = extension("envoy.matching.matchers.runtime_fraction", any(&matcher));
    single(
        "envoy.matching.inputs.source_port",
        any(&SourcePortInput::default()),
        single_predicate::Matcher::CustomMatch(custom),
    )
}

pub(crate) fn exact(value: &str) -> StringMatcher {
    StringMatcher { match_pattern: Some(MatchPattern::Exact(value.to_owned())), ignore_case: false }
}

pub(crate) fn regex(pattern: &str) -> StringMatcher {
    let regex = RegexMatcher { regex: pattern.to_owned(), engine_type: Some(EngineType::GoogleRe2(GoogleRe2 {})) };
    StringMatcher { match_pattern: Some(MatchPattern::SafeRegex(regex)), ignore_case: false }
}

pub(crate) fn input(name: &str, input: Any, value: StringMatcher) -> Predicate {
    single(name, input, single_predicate::Matcher::ValueMatch(value))
}

/// A request header, the pseudo headers among them.
pub(crate) fn header(name: &str, value: StringMatcher) -> Predicate {
    let source = any(&HttpRequestHeaderMatchInput { header_name: name.to_ascii_lowercase() });
    input("request-header", source, value)
}

/// The client's address, as client IP detection found it.
pub(crate) fn client_in(ranges: Vec<CidrRange>) -> Predicate {
    let ip = Ip { cidr_ranges: ranges, stat_prefix: "client_ip".to_owned() };
    single(
        "client-ip",
        any(&SourceIpInput {}),
        single_predicate::Matcher::CustomMatch(extension("envoy.matching.matchers.ip", any(&ip))),
    )
}

/// What a filter noted about the request.
pub(crate) fn noted<'a>(filter: &str, path: impl IntoIterator<Item = &'a str>, value: ValueMatcher) -> Predicate {
    let segment = |key: &str| PathSegment { segment: Some(Segment::Key(key.to_owned())) };
    let source = DynamicMetadataInput { filter: filter.to_owned(), path: path.into_iter().map(segment).collect() };
    let matcher = Metadata { value: Some(value), ..Metadata::default() };
    single(
        "envoy.matching.inputs.dynamic_metadata",
        any(&source),
        single_predicate::Matcher::CustomMatch(extension("envoy.matching.matchers.metadata_matcher", any(&matcher))),
    )
}

/// An expression over the attributes of the request.
pub(crate) fn cel(expression: ParsedExpr) -> Predicate {
    let matcher = CelMatcher {
        expr_match: Some(CelExpression { cel_expr_parsed: Some(expression), ..CelExpression::default() }),
        ..CelMatcher::default()
    };
    single(
        "envoy.matching.inputs.cel_data_input",
        any(&HttpAttributesCelMatchInput {}),
        single_predicate::Matcher::CustomMatch(extension("envoy.matching.matchers.cel_matcher", any(&matcher))),
    )
}
