//! kgateway's AI backends: providers known by name.

use kinds::ObjectId;
use kinds::gateway::LocalObjectReference;
use kinds::kgateway::{KgatewayBackendSpec, Llm};

use super::edits::Edits;
use crate::engine::View;
use crate::routing::Broken;

const HTTPS: u16 = 443;

/// Where the servers of a backend are.
pub(super) fn hosts(spec: &KgatewayBackendSpec) -> Vec<(String, u16)> {
    if let Some(hosts) = &spec.hosts {
        return hosts.hosts.iter().map(|host| (host.host.to_string(), host.port)).collect();
    }
    let first = spec.ai.as_ref().and_then(|ai| ai.groups.first()?.first());
    first.and_then(host).into_iter().collect()
}

fn host(llm: &Llm) -> Option<(String, u16)> {
    if let Some(host) = llm.host() {
        return Some((host.host.to_string(), host.port));
    }
    let provider = llm.provider();
    let known = if provider.openai.is_some() {
        "api.openai.com".to_owned()
    } else if provider.anthropic.is_some() {
        "api.anthropic.com".to_owned()
    } else {
        provider.azureopenai.as_ref()?.endpoint.as_ref()?.to_string()
    };
    Some((known, HTTPS))
}

/// What a backend wants changed; or why it cannot be had.
pub(crate) fn edits(id: &ObjectId, view: &View<'_>) -> Result<Option<Edits>, Broken> {
    let broken = |message: &str| Broken { reason: "UnsupportedValue", message: format!("{id}: {message}") };
    let Some(spec) = view.spec::<KgatewayBackendSpec>(id) else { return Ok(None) };
    let Some(ai) = &spec.ai else {
        return if spec.hosts.is_some() {
            Ok(None)
        } else {
            Err(broken("only backends of type AI and Static are supported"))
        };
    };
    let Some(llm) = ai.groups.first().and_then(|group| group.first()) else {
        return Err(broken("names no provider"));
    };
    if ai.groups.iter().map(Vec::len).sum::<usize>() > 1 {
        return Err(broken(
            "several providers in one Backend are not supported: use AIServiceBackends with priorities",
        ));
    }
    let provider = llm.provider();
    let (settings, usual) = if let Some(settings) = &provider.openai {
        (settings, "/v1/chat/completions".to_owned())
    } else if let Some(settings) = &provider.anthropic {
        (settings, "/v1/messages".to_owned())
    } else if let Some(settings) = &provider.azureopenai {
        let deployment = settings.deployment_name.as_deref().unwrap_or_default();
        let version = settings.api_version.as_deref().unwrap_or("2025-01-01-preview");
        (settings, format!("/openai/deployments/{deployment}/chat/completions?api-version={version}"))
    } else {
        return Err(broken("providers other than openai, azureopenai and anthropic would need translation"));
    };
    super::credentials::of(id, view)?;
    let full = llm.path_override.as_ref().and_then(|path| path.full_path.as_ref());
    let path = full.map_or(usual, ToString::to_string);
    Ok(Some(Edits { path: Some(path), model: settings.model.as_ref().map(ToString::to_string), ..Edits::default() }))
}

/// The Secret that a backend's token is in, with the field that names it.
pub(crate) fn token(spec: &KgatewayBackendSpec) -> Option<(LocalObjectReference, Option<String>)> {
    let llm = spec.ai.as_ref()?.groups.first()?.first()?;
    let provider = llm.provider();
    let settings = provider.openai.as_ref().or(provider.anthropic.as_ref()).or(provider.azureopenai.as_ref())?;
    let secret = settings.auth_token.as_ref()?.secret_ref.as_ref()?;
    let reference =
        LocalObjectReference { group: Default::default(), kind: "Secret".into(), name: secret.name.clone() };
    Some((reference, secret.namespace.as_ref().map(ToString::to_string)))
}
