//! EnvoyExtensionPolicy: external processors and scripts, asked before anything else of a request is decided.
//!
//! They stand before the filter that reads the model, so that a request follows the model that a processor chose for it.

use kinds::envoy_gateway::{EnvoyExtensionPolicySpec, ExtProc, ExtProcPart, LuaScript};
use kinds::{FieldPath, Kind, Object, ObjectId};
use smol_str::SmolStr;
use xds_api::any;
use xds_api::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use xds_api::envoy::config::core::v3::{DataSource, GrpcService, TypedExtensionConfig, data_source};
use xds_api::envoy::extensions::filters::http::composite::v3::{
    Composite, CompositePerRoute, ExecuteFilterAction, FilterChainConfiguration,
};
use xds_api::envoy::extensions::filters::http::ext_proc::v3::metadata_options::MetadataNamespaces;
use xds_api::envoy::extensions::filters::http::ext_proc::v3::processing_mode::{BodySendMode, HeaderSendMode};
use xds_api::envoy::extensions::filters::http::ext_proc::v3::{ExternalProcessor, MetadataOptions, ProcessingMode};
use xds_api::envoy::extensions::filters::http::lua::v3::Lua;
use xds_api::envoy::r#type::v3::HttpStatus;
use xds_api::google::protobuf::Any;

use super::Problem;
use crate::engine::View;
use crate::graph::{Role, Target, Verdict};
use crate::names::ClusterId;
use crate::render::build::duration;
use crate::render::matcher;
use crate::routing::resolve_backend;

/// The filter that does what a route's policy asks; without one it does nothing.
pub(crate) const EXTENSIONS: &str = "chancery.extensions";

pub(crate) fn install() -> (&'static str, Any) {
    (EXTENSIONS, any(&Composite::default()))
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Extensions {
    pub orders: Option<Any>,
    pub clusters: Vec<ClusterId>,
    /// A policy that cannot be had must not be left out.
    pub refused: bool,
}

/// The policy in force for a route: its own before its Gateway's, the older of two.
fn policy<'a>(route: &ObjectId, gateway: &ObjectId, view: &View<'a>) -> Option<&'a Object> {
    // Envoy AI Gateway makes an HTTPRoute of each of its routes, and policies are written for that.
    let made = (route.kind == Kind::AiGatewayRoute).then(|| route.of_kind(Kind::HttpRoute));
    let targets = [Some(route.clone()), made, Some(gateway.clone())];
    targets.into_iter().flatten().find_map(|target| {
        let ids = view.referrers_of(&target, Role::PolicyTarget, Kind::EnvoyExtensionPolicy);
        let mut found: Vec<&Object> = ids.filter_map(|id| view.object(id)).map(AsRef::as_ref).collect();
        found.sort_by(|a, b| a.age_order().cmp(&b.age_order()));
        found.into_iter().next()
    })
}

pub(crate) fn of(route: &ObjectId, gateway: &ObjectId, view: &View<'_>) -> Extensions {
    let Some(policy) = policy(route, gateway, view) else { return Extensions::default() };
    match render(policy, view) {
        Ok((filters, clusters)) => Extensions { orders: orders(filters), clusters, refused: false },
        Err(_) => Extensions { refused: true, ..Extensions::default() },
    }
}

type Rendered = (Vec<TypedExtensionConfig>, Vec<ClusterId>);

/// The filters that a policy asks for, or what is wrong with it.
pub(crate) fn render(policy: &Object, view: &View<'_>) -> Result<Rendered, Problem> {
    let Some(spec) = policy.spec::<EnvoyExtensionPolicySpec>() else { return Ok(Rendered::default()) };
    if let Some(refusal) = policy.unread() {
        return Err(problem(FieldPath::spec(), &refusal.message));
    }
    if !spec.wasm.is_empty() {
        return Err(Problem::unsupported("spec.wasm", "WebAssembly is not supported"));
    }
    let (mut filters, mut clusters) = Rendered::default();
    for (index, script) in spec.lua.iter().enumerate() {
        let path = FieldPath::from("spec.lua").index(index);
        let source = source(policy, script, &path, view)?;
        let lua = Lua {
            default_source_code: Some(DataSource {
                specifier: Some(data_source::Specifier::InlineString(source)),
                ..DataSource::default()
            }),
            ..Lua::default()
        };
        filters.push(filter("envoy.filters.http.lua", any(&lua)));
    }
    if spec.ext_proc.len() > 1 {
        // A request that waits for one goes on behind all of them: the second would be passed over.
        return Err(Problem::unsupported("spec.extProc[1]", "one processor is asked, not several"));
    }
    if let Some(processor) = spec.ext_proc.first() {
        let path = FieldPath::from("spec.extProc[0].backendRefs");
        let Some(reference) = processor.backend_refs.first() else {
            return Err(problem(path, "names no processor"));
        };
        let path = path.index(0);
        let cluster = resolve_backend(policy, path.as_str(), reference, true, view)
            .map_err(|broken| problem(path, &broken.message))?;
        filters.push(filter("envoy.filters.http.ext_proc", any(&external(processor, &cluster))));
        clusters.push(cluster);
    }
    Ok((filters, clusters))
}

fn problem(path: FieldPath, message: &str) -> Problem {
    Problem::wrong(path, message)
}

fn filter(name: &str, config: Any) -> TypedExtensionConfig {
    TypedExtensionConfig { name: name.to_owned(), typed_config: Some(config) }
}

fn source(policy: &Object, script: &LuaScript, path: &FieldPath, view: &View<'_>) -> Result<String, Problem> {
    if let Some(inline) = &script.inline {
        return Ok(inline.clone());
    }
    let path = path.field("valueRef");
    let edge = view.reference(&policy.id, path.as_str());
    let content = edge.and_then(|edge| match (&edge.target, edge.verdict) {
        (Target::Object(id), Verdict::Allowed) => {
            let map = view.spec::<kinds::core::ConfigMap>(id)?;
            let text = map.get("lua").or_else(|| map.first())?;
            Some(String::from_utf8_lossy(text).into_owned())
        }
        _ => None,
    });
    content.ok_or_else(|| problem(path, "there is no ConfigMap of that name with a key `lua`"))
}

fn external(processor: &ExtProc, cluster: &ClusterId) -> ExternalProcessor {
    let mode = processor.processing_mode.clone().unwrap_or_default();
    let headers = |part: &Option<ExtProcPart>| {
        if part.is_some() { HeaderSendMode::Send as i32 } else { HeaderSendMode::Skip as i32 }
    };
    let body = |part: &Option<ExtProcPart>| match part.as_ref().and_then(|part| part.body.as_deref()) {
        Some("Streamed") => BodySendMode::Streamed as i32,
        Some("Buffered") => BodySendMode::Buffered as i32,
        Some("BufferedPartial") => BodySendMode::BufferedPartial as i32,
        Some("FullDuplexStreamed") => BodySendMode::FullDuplexStreamed as i32,
        _ => BodySendMode::None as i32,
    };
    let trailers = |part: &Option<ExtProcPart>| {
        let duplex = part.as_ref().and_then(|part| part.body.as_deref()) == Some("FullDuplexStreamed");
        if duplex { HeaderSendMode::Send as i32 } else { HeaderSendMode::Skip as i32 }
    };
    let attributes = |part: &Option<ExtProcPart>| {
        part.iter().flat_map(|part| &part.attributes).map(ToString::to_string).collect::<Vec<_>>()
    };
    ExternalProcessor {
        grpc_service: Some(GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                cluster_name: cluster.to_string(),
                authority: cluster.authority(),
                ..EnvoyGrpc::default()
            })),
            ..GrpcService::default()
        }),
        failure_mode_allow: processor.fail_open.unwrap_or(false),
        observability_mode: processor.shadow_mode,
        status_on_error: processor.status_on_error.map(|code| HttpStatus { code: i32::from(code) }),
        metadata_options: processor.metadata.as_ref().map(|metadata| MetadataOptions {
            forwarding_namespaces: Some(namespaces(&metadata.accessible_namespaces)),
            receiving_namespaces: Some(namespaces(&metadata.writable_namespaces)),
            ..MetadataOptions::default()
        }),
        message_timeout: processor.message_timeout.map(|timeout| duration(timeout.0)),
        request_attributes: attributes(&mode.request),
        response_attributes: attributes(&mode.response),
        allow_mode_override: mode.allow_mode_override,
        processing_mode: Some(ProcessingMode {
            request_header_mode: headers(&mode.request),
            response_header_mode: headers(&mode.response),
            request_body_mode: body(&mode.request),
            response_body_mode: body(&mode.response),
            request_trailer_mode: trailers(&mode.request),
            response_trailer_mode: trailers(&mode.response),
        }),
        ..ExternalProcessor::default()
    }
}

fn namespaces(names: &[SmolStr]) -> MetadataNamespaces {
    MetadataNamespaces { untyped: names.iter().map(ToString::to_string).collect(), ..MetadataNamespaces::default() }
}

fn orders(filters: Vec<TypedExtensionConfig>) -> Option<Any> {
    if filters.is_empty() {
        return None;
    }
    let action = ExecuteFilterAction {
        filter_chain: Some(FilterChainConfiguration { typed_config: filters }),
        ..ExecuteFilterAction::default()
    };
    Some(any(&CompositePerRoute { matcher: Some(matcher::always(any(&action))) }))
}
