//! The references that Envoy Gateway's policies and EnvoyProxies make.

use kinds::FieldPath;
use kinds::envoy_gateway::shared::{ExtensionBackends, PolicyTargets, SecretRef, ValueRef};
use kinds::envoy_gateway::{BackendTrafficPolicySpec, ClientTrafficPolicySpec, EnvoyProxySpec, SecurityPolicySpec};
use kinds::gateway::GatewayClassSpec;

use super::reference::{References, Role};

impl References<'_> {
    pub(super) fn of_gateway_class(&mut self) {
        let Some(spec) = self.source.spec::<GatewayClassSpec>() else { return };
        let Some(r) = &spec.parameters_ref else { return };
        let path = FieldPath::from("spec.parametersRef");
        self.add(Role::Parameters, &path, &r.group, &r.kind, r.namespace.as_deref(), &r.name);
    }

    pub(super) fn of_security_policy(&mut self) {
        let Some(spec) = self.source.spec::<SecurityPolicySpec>() else { return };
        self.targets(&spec.targets);
        let base = FieldPath::spec();
        if let Some(keys) = &spec.api_key_auth {
            let base = base.field("apiKeyAuth").field("credentialRefs");
            for (index, r) in keys.credential_refs.iter().enumerate() {
                self.secret(Role::Credentials, &base.index(index), r);
            }
        }
        if let Some(basic) = &spec.basic_auth {
            self.secret(Role::Credentials, &base.field("basicAuth").field("users"), &basic.users);
        }
        for (index, provider) in spec.jwt.iter().flat_map(|jwt| jwt.providers.iter().enumerate()) {
            let base = base.field("jwt").field("providers").index(index);
            if let Some(remote) = &provider.remote_jwks {
                self.extension_backends(&base.field("remoteJWKS"), &remote.backends);
            }
            if let Some(r) = provider.local_jwks.as_ref().and_then(|local| local.value_ref.as_ref()) {
                self.content(&base.field("localJWKS").field("valueRef"), r);
            }
        }
        if let Some(oidc) = &spec.oidc {
            let base = base.field("oidc");
            if let Some(r) = &oidc.client_id_ref {
                self.secret(Role::Credentials, &base.field("clientIDRef"), r);
            }
            self.secret(Role::Credentials, &base.field("clientSecret"), &oidc.client_secret);
            self.extension_backends(&base.field("provider"), &oidc.provider.backends);
        }
        if let Some(auth) = &spec.ext_auth {
            let base = base.field("extAuth");
            if let Some(grpc) = &auth.grpc {
                self.extension_backends(&base.field("grpc"), grpc);
            }
            if let Some(http) = &auth.http {
                self.extension_backends(&base.field("http"), &http.backends);
            }
            for (index, extension) in auth.context_extensions.iter().enumerate() {
                if let Some(r) = &extension.value_ref {
                    self.content(&base.field("contextExtensions").index(index).field("valueRef"), r);
                }
            }
        }
    }

    pub(super) fn of_backend_traffic_policy(&mut self) {
        let Some(spec) = self.source.spec::<BackendTrafficPolicySpec>() else { return };
        self.targets(&spec.targets);
        let base = FieldPath::from("spec.responseOverride");
        for (index, item) in spec.response_override.iter().enumerate() {
            let body = item.response.as_ref().and_then(|response| response.body.as_ref());
            if let Some(r) = body.and_then(|body| body.value_ref.as_ref()) {
                self.content(&base.index(index).field("response").field("body").field("valueRef"), r);
            }
        }
    }

    pub(super) fn of_client_traffic_policy(&mut self) {
        let Some(spec) = self.source.spec::<ClientTrafficPolicySpec>() else { return };
        self.targets(&spec.targets);
        let Some(validation) = spec.tls.as_ref().and_then(|tls| tls.client_validation.as_ref()) else { return };
        let base = FieldPath::from("spec.tls.clientValidation");
        for (index, r) in validation.ca_certificate_refs.iter().enumerate() {
            self.secret(Role::Authorities, &base.field("caCertificateRefs").index(index), r);
        }
        for (index, r) in validation.crl.iter().flat_map(|crl| crl.refs.iter().enumerate()) {
            self.secret(Role::Authorities, &base.field("crl").field("refs").index(index), r);
        }
    }

    pub(super) fn of_envoy_proxy(&mut self) {
        let Some(spec) = self.source.spec::<EnvoyProxySpec>() else { return };
        let base = FieldPath::spec();
        if let Some(r) = spec.backend_tls.as_ref().and_then(|tls| tls.client_certificate_ref.as_ref()) {
            self.secret(Role::Certificate, &base.field("backendTLS").field("clientCertificateRef"), r);
        }
        let Some(telemetry) = &spec.telemetry else { return };
        let base = base.field("telemetry");
        for (index, settings) in telemetry.access_log.iter().flat_map(|log| log.settings.iter().enumerate()) {
            let base = base.field("accessLog").field("settings").index(index).field("sinks");
            for (index, sink) in settings.sinks.iter().enumerate() {
                if let Some(als) = &sink.als {
                    self.extension_backends(&base.index(index).field("als"), &als.backends);
                }
                if let Some(otel) = &sink.open_telemetry {
                    self.extension_backends(&base.index(index).field("openTelemetry"), &otel.backends);
                }
            }
        }
        if let Some(tracing) = &telemetry.tracing {
            self.extension_backends(&base.field("tracing").field("provider"), &tracing.provider.backends);
        }
    }

    fn targets(&mut self, targets: &PolicyTargets) {
        let one = targets.target_ref.iter().map(|r| (FieldPath::from("spec.targetRef"), r));
        let base = FieldPath::from("spec.targetRefs");
        let many = targets.target_refs.iter().enumerate().map(|(index, r)| (base.index(index), r));
        for (path, r) in one.chain(many) {
            self.add(Role::PolicyTarget, &path, &r.group, &r.kind, None, &r.name);
        }
    }

    pub(super) fn secret(&mut self, role: Role, path: &FieldPath, r: &SecretRef) {
        let kind = r.kind.as_deref().unwrap_or("Secret");
        self.add(role, path, r.group.as_deref().unwrap_or_default(), kind, r.namespace.as_deref(), &r.name);
    }

    fn content(&mut self, path: &FieldPath, r: &ValueRef) {
        self.add(Role::Content, path, &r.group, &r.kind, None, &r.name);
    }

    fn extension_backends(&mut self, base: &FieldPath, backends: &ExtensionBackends) {
        for (field, r) in backends.written() {
            let kind = r.kind.as_deref().unwrap_or("Service");
            let group = r.group.as_deref().unwrap_or_default();
            self.add(Role::Backend, &base.field(&field), group, kind, r.namespace.as_deref(), &r.name);
        }
    }
}
