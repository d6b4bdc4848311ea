//! The credentials that a backend wants, as its BackendSecurityPolicy says: put in by its cluster's own filters, last, with
//! secrets that travel by themselves, so that a rotated key touches no cluster.

use kinds::ai::{AiServiceBackendSpec, AwsCredentials, BackendSecurityPolicySpec, CredentialType};
use kinds::core::Secret;
use kinds::kgateway::{AuthToken, AuthTokenKind, KgatewayBackendSpec};
use kinds::{Kind, Object, ObjectId};
use xds_api::any;
use xds_api::envoy::config::core::v3::{DataSource, TypedExtensionConfig, data_source};
use xds_api::envoy::extensions::common::aws::v3::{
    AssumeRoleWithWebIdentityCredentialProvider, AwsCredentialProvider, CredentialsFileCredentialProvider,
};
use xds_api::envoy::extensions::filters::http::aws_request_signing::v3::AwsRequestSigning;
use xds_api::envoy::extensions::filters::http::credential_injector::v3::CredentialInjector;
use xds_api::envoy::extensions::http::injected_credentials::generic::v3::Generic;
use xds_api::google::protobuf::Any;

use super::edits::SHARE_HEADER;
use super::own_key::{self, OwnKey};
use crate::engine::View;
use crate::graph::{Role, Target, Verdict};
use crate::names::SecretId;
use crate::render::downstream_tls::sds;
use crate::routing::{Broken, exactly};

/// What proves to a server who asks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Credential {
    /// A key in a header.
    Header {
        name: &'static str,
        prefix: &'static str,
        secret: SecretId,
        /// What a caller may bring in its place.
        own: Option<OwnKey>,
    },
    Aws(Box<AwsSigning>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AwsSigning {
    region: String,
    /// The name that the server is asked by, which the signature covers; none where it is the one the client used.
    host: Option<String>,
    source: AwsSource,
}

#[derive(Clone, Debug, PartialEq)]
enum AwsSource {
    /// What the process finds around it.
    Surroundings,
    File {
        secret: String,
        profile: String,
    },
    WebIdentity {
        role: String,
    },
}

/// The headers in which the providers of the table take keys: none of them passes on what another was to get.
pub(crate) const KEY_HEADERS: [&str; 10] = [
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-amz-security-token",
    "x-amz-date",
    "cookie",
    "x-aigw-api-key",
    "x-aigw-anthropic-api-key",
    "x-aigw-azure-api-key",
];

/// The data key of a Secret in which the kinds of Envoy AI Gateway keep keys.
const API_KEY: &str = "apiKey";
const CREDENTIALS: &str = "credentials";

/// The policy of a backend: the one that names it, the oldest of several, or else the one that it names itself.
pub(crate) fn policy_of<'a>(backend: &ObjectId, view: &View<'a>) -> Option<&'a Object> {
    let mut policies: Vec<&Object> = view
        .referrers_of(backend, Role::PolicyTarget, Kind::BackendSecurityPolicy)
        .filter_map(|id| view.object(id))
        .map(AsRef::as_ref)
        .collect();
    policies.sort_by(|a, b| a.age_order().cmp(&b.age_order()));
    if let Some(first) = policies.first() {
        return Some(first);
    }
    let spec = view.spec::<AiServiceBackendSpec>(backend)?;
    let named = spec.backend_security_policy_ref.as_ref()?;
    let id = ObjectId::new(Kind::BackendSecurityPolicy, backend.namespace.clone(), named.name.clone());
    view.object(&id).map(AsRef::as_ref)
}

/// The credential of a backend. One that it wants and that cannot be had makes the backend one that cannot be reached: a
/// request without it would be refused there, or charged to nobody.
pub(crate) fn of(backend: &ObjectId, view: &View<'_>) -> Result<Option<Credential>, Broken> {
    if backend.kind == Kind::KgatewayBackend {
        return of_kgateway(backend, view);
    }
    let Some(policy) = policy_of(backend, view) else { return Ok(None) };
    let Some(spec) = policy.spec::<BackendSecurityPolicySpec>() else { return Ok(None) };
    let header = |name, prefix, path: &str| {
        let secret = secret(policy, path, API_KEY, view)?;
        let secret = SecretId::ApiKey(secret, API_KEY.into());
        Ok(Some(Credential::Header { name, prefix, secret, own: OwnKey::of(spec) }))
    };
    match spec.kind {
        CredentialType::APIKey => header("Authorization", "Bearer ", "spec.apiKey.secretRef"),
        CredentialType::AzureAPIKey => header("api-key", "", "spec.azureAPIKey.secretRef"),
        CredentialType::AnthropicAPIKey => header("x-api-key", "", "spec.anthropicAPIKey.secretRef"),
        CredentialType::AWSCredentials => {
            let Some(aws) = &spec.aws_credentials else {
                return refuse(policy, "InvalidKind", "spec.awsCredentials is missing");
            };
            Ok(Some(Credential::Aws(Box::new(signing(policy, aws, backend, view)?))))
        }
        CredentialType::AzureCredentials | CredentialType::GCPCredentials => {
            refuse(policy, "UnsupportedValue", &unsupported(spec).unwrap_or_default())
        }
    }
}

/// What of a policy cannot be had.
pub(crate) fn unsupported(spec: &BackendSecurityPolicySpec) -> Option<String> {
    match spec.kind {
        CredentialType::AzureCredentials | CredentialType::GCPCredentials => {
            Some(format!("credentials of type {} need tokens that Envoy's own filters cannot fetch", spec.kind.name()))
        }
        _ => {
            let wanted = spec.credential_override.as_ref()?;
            if !own_key::USUAL_HEADERS.iter().any(|(kind, _)| *kind == spec.kind) {
                let name = spec.kind.name();
                return Some(format!(
                    "spec.credentialOverride of type {name} is not supported: nothing of Envoy's signs with what a caller brings"
                ));
            }
            let message = "spec.credentialOverride.fromDynamicMetadata is not supported: use fromRequestHeaders";
            wanted.from_request_headers.is_none().then(|| message.to_owned())
        }
    }
}

fn refuse<T>(policy: &Object, reason: &'static str, message: &str) -> Result<T, Broken> {
    Err(Broken { reason, message: format!("{}: {message}", policy.id) })
}

fn secret(policy: &Object, path: &str, key: &str, view: &View<'_>) -> Result<ObjectId, Broken> {
    let Some(edge) = view.reference(&policy.id, path) else {
        return refuse(policy, "BackendNotFound", &format!("{path} is missing"));
    };
    let id = match (&edge.target, edge.verdict) {
        (Target::Object(id), Verdict::Allowed) => id,
        (target, Verdict::NotPermitted) => {
            return refuse(policy, "RefNotPermitted", &format!("{target}: no ReferenceGrant permits it"));
        }
        (target, _) => return refuse(policy, "BackendNotFound", &format!("{target} does not exist")),
    };
    match view.spec::<Secret>(id).and_then(|secret| secret.get(key)) {
        Some(value) if !value.is_empty() => Ok(id.clone()),
        _ => refuse(policy, "BackendNotFound", &format!("{id} has no data key {key}")),
    }
}

fn signing(policy: &Object, aws: &AwsCredentials, backend: &ObjectId, view: &View<'_>) -> Result<AwsSigning, Broken> {
    let region = aws.region.to_string();
    let mut names = super::cluster::names(backend, view);
    let host = names.pop_first();
    if !names.is_empty() {
        let message = format!("a signature covers the name of one host, and {backend} has several");
        return refuse(policy, "UnsupportedValue", &message);
    }
    if let Some(exchange) = &aws.oidc_exchange_token {
        let role = exchange.aws_role_arn.to_string();
        return Ok(AwsSigning { region, host, source: AwsSource::WebIdentity { role } });
    }
    let Some(file) = &aws.credentials_file else {
        return Ok(AwsSigning { region, host, source: AwsSource::Surroundings });
    };
    let id = secret(policy, "spec.awsCredentials.credentialsFile.secretRef", CREDENTIALS, view)?;
    let content = view.spec::<Secret>(&id).and_then(|secret| secret.get(CREDENTIALS)).unwrap_or_default();
    let source =
        AwsSource::File { secret: String::from_utf8_lossy(content).into_owned(), profile: file.profile.to_string() };
    Ok(AwsSigning { region, host, source })
}

fn of_kgateway(backend: &ObjectId, view: &View<'_>) -> Result<Option<Credential>, Broken> {
    let Some(object) = view.object(backend) else { return Ok(None) };
    let Some(spec) = object.spec::<KgatewayBackendSpec>() else { return Ok(None) };
    let Some(llm) = spec.ai.as_ref().and_then(|ai| ai.groups.first()?.first()) else { return Ok(None) };
    let provider = llm.provider();
    let (settings, name, prefix) = if let Some(settings) = &provider.openai {
        (settings, "Authorization", "Bearer ")
    } else if let Some(settings) = &provider.anthropic {
        (settings, "x-api-key", "")
    } else if let Some(settings) = &provider.azureopenai {
        (settings, "api-key", "")
    } else {
        return Ok(None);
    };
    match &settings.auth_token {
        Some(AuthToken { kind: AuthTokenKind::SecretRef, .. }) => {
            let id = secret(object, "spec.ai.llm.authToken.secretRef", TOKEN_KEY, view)?;
            let secret = SecretId::ApiKey(id, TOKEN_KEY.into());
            Ok(Some(Credential::Header { name, prefix, secret, own: None }))
        }
        Some(AuthToken { kind: AuthTokenKind::Inline, .. }) => {
            refuse(object, "UnsupportedValue", "a token written inline is not supported: name a Secret")
        }
        _ => Ok(None),
    }
}

/// The data key in which kgateway keeps tokens.
const TOKEN_KEY: &str = "Authorization";

impl Credential {
    pub(crate) fn secret(&self) -> Option<&SecretId> {
        match self {
            Self::Header { secret, .. } => Some(secret),
            Self::Aws(_) => None,
        }
    }

    /// What a caller may bring in its place, and the filter that puts that in.
    pub(crate) fn own(&self) -> Option<(&OwnKey, Any)> {
        match self {
            Self::Header { name, prefix, own, .. } => own.as_ref().map(|own| (own, own.filter(name, prefix))),
            Self::Aws(_) => None,
        }
    }

    /// The filter that puts it in, for a server that is asked by a name where it has none of its own.
    pub(crate) fn filter(&self, otherwise: &str) -> TypedExtensionConfig {
        match self {
            Self::Header { name, prefix, secret, .. } => {
                let generic = Generic {
                    credential: Some(sds(secret)),
                    header: (*name).to_owned(),
                    header_value_prefix: (*prefix).to_owned(),
                };
                TypedExtensionConfig {
                    name: "envoy.filters.http.credential_injector".to_owned(),
                    typed_config: Some(any(&CredentialInjector {
                        overwrite: true,
                        credential: Some(TypedExtensionConfig {
                            name: "envoy.http.injected_credentials.generic".to_owned(),
                            typed_config: Some(any(&generic)),
                        }),
                        ..CredentialInjector::default()
                    })),
                }
            }
            Self::Aws(signing) => signing.filter(otherwise),
        }
    }
}

impl AwsSigning {
    fn filter(&self, otherwise: &str) -> TypedExtensionConfig {
        let provider = match &self.source {
            AwsSource::Surroundings => None,
            AwsSource::File { secret, profile } => Some(AwsCredentialProvider {
                credentials_file_provider: Some(CredentialsFileCredentialProvider {
                    credentials_data_source: Some(DataSource {
                        specifier: Some(data_source::Specifier::InlineString(secret.clone())),
                        ..DataSource::default()
                    }),
                    profile: profile.clone(),
                }),
                custom_credential_provider_chain: true,
                ..AwsCredentialProvider::default()
            }),
            AwsSource::WebIdentity { role } => Some(AwsCredentialProvider {
                assume_role_with_web_identity_provider: Some(AssumeRoleWithWebIdentityCredentialProvider {
                    role_arn: role.clone(),
                    ..AssumeRoleWithWebIdentityCredentialProvider::default()
                }),
                ..AwsCredentialProvider::default()
            }),
        };
        TypedExtensionConfig {
            name: "envoy.filters.http.aws_request_signing".to_owned(),
            typed_config: Some(any(&AwsRequestSigning {
                service_name: "bedrock".to_owned(),
                region: self.region.clone(),
                // The router writes the name only after the signature was made.
                host_rewrite: self.host.as_deref().unwrap_or(otherwise).to_owned(),
                credential_provider: provider,
                // It is taken away after the signature was made.
                match_excluded_headers: vec![exactly(SHARE_HEADER)],
                ..AwsRequestSigning::default()
            })),
        }
    }
}
