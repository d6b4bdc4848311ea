//! The references of AI routes, backends and pools, and of the policies that patch and extend.

use kinds::ai::{AiGatewayRouteSpec, AiServiceBackendSpec, BackendSecurityPolicySpec, QuotaPolicySpec};
use kinds::envoy_gateway::{EnvoyExtensionPolicySpec, EnvoyPatchPolicySpec};
use kinds::gateway::{LocalPolicyTargetReference, SecretObjectReference};
use kinds::inference::InferencePoolSpec;
use kinds::kgateway::{KgatewayBackendSpec, RateLimitPolicySpec};
use kinds::{FieldPath, Kind};

use super::reference::{References, Role};

impl References<'_> {
    pub(super) fn of_ai(&mut self) {
        let object = self.source;
        match object.id.kind {
            Kind::AiGatewayRoute => object.spec().into_iter().for_each(|spec| self.of_ai_route(spec)),
            Kind::AiServiceBackend => object.spec().into_iter().for_each(|spec| self.of_ai_backend(spec)),
            Kind::BackendSecurityPolicy => object.spec().into_iter().for_each(|spec| self.of_backend_security(spec)),
            Kind::InferencePool => object.spec().into_iter().for_each(|spec| self.of_pool(spec)),
            Kind::KgatewayBackend => object.spec().into_iter().for_each(|spec| self.of_kgateway_backend(spec)),
            Kind::EnvoyPatchPolicy => object.spec().into_iter().for_each(|spec: &EnvoyPatchPolicySpec| {
                self.policy_target(&"spec.targetRef".into(), &spec.target_ref);
            }),
            Kind::QuotaPolicy => object.spec().into_iter().for_each(|spec: &QuotaPolicySpec| {
                for (index, target) in spec.target_refs.iter().enumerate() {
                    self.policy_target(&FieldPath::from("spec.targetRefs").index(index), target);
                }
            }),
            Kind::RateLimitPolicy => object.spec().into_iter().for_each(|spec: &RateLimitPolicySpec| {
                let target = &spec.target_ref;
                let namespace = target.namespace.as_deref();
                let path = "spec.targetRef".into();
                self.add(Role::PolicyTarget, &path, &target.group, &target.kind, namespace, &target.name);
            }),
            Kind::EnvoyExtensionPolicy => object.spec().into_iter().for_each(|spec| self.of_extension_policy(spec)),
            _ => {}
        }
    }

    fn of_ai_route(&mut self, spec: &AiGatewayRouteSpec) {
        self.parents(&spec.parent_refs);
        for (index, rule) in spec.rules.iter().enumerate() {
            let base = FieldPath::from("spec.rules").index(index).field("backendRefs");
            for (index, r) in rule.backend_refs.iter().enumerate() {
                let (group, kind) = r.target();
                self.add(Role::Backend, &base.index(index), group, kind, r.namespace.as_deref(), &r.name);
            }
        }
    }

    fn of_ai_backend(&mut self, spec: &AiServiceBackendSpec) {
        self.backend(&spec.backend_ref, &"spec.backendRef".into());
        if let Some(policy) = &spec.backend_security_policy_ref {
            let path = "spec.backendSecurityPolicyRef".into();
            let kind = Kind::BackendSecurityPolicy;
            self.add(Role::Credentials, &path, kind.group(), kind.name(), None, &policy.name);
        }
    }

    fn of_backend_security(&mut self, spec: &BackendSecurityPolicySpec) {
        for (index, target) in spec.target_refs.iter().enumerate() {
            self.policy_target(&FieldPath::from("spec.targetRefs").index(index), target);
        }
        let keys = [
            ("spec.apiKey.secretRef", &spec.api_key),
            ("spec.azureAPIKey.secretRef", &spec.azure_api_key),
            ("spec.anthropicAPIKey.secretRef", &spec.anthropic_api_key),
        ];
        for (path, key) in keys {
            key.iter().for_each(|key| self.key(path, &key.secret_ref));
        }
        if let Some(file) = spec.aws_credentials.as_ref().and_then(|aws| aws.credentials_file.as_ref()) {
            self.key("spec.awsCredentials.credentialsFile.secretRef", &file.secret_ref);
        }
        if let Some(secret) = spec.azure_credentials.as_ref().and_then(|azure| azure.client_secret_ref.as_ref()) {
            self.key("spec.azureCredentials.clientSecretRef", secret);
        }
    }

    fn key(&mut self, path: &str, r: &SecretObjectReference) {
        self.add(Role::Credentials, &path.into(), &r.group, &r.kind, r.namespace.as_deref(), &r.name);
    }

    fn policy_target(&mut self, path: &FieldPath, r: &LocalPolicyTargetReference) {
        self.add(Role::PolicyTarget, path, &r.group, &r.kind, None, &r.name);
    }

    fn of_pool(&mut self, spec: &InferencePoolSpec) {
        if let Some(picker) = &spec.endpoint_picker {
            let path = "spec.endpointPickerRef".into();
            self.add(Role::Backend, &path, &picker.group, &picker.kind, None, &picker.name);
        }
    }

    fn of_kgateway_backend(&mut self, spec: &KgatewayBackendSpec) {
        if let Some((secret, namespace)) = crate::ai::kgateway_token(spec) {
            let path = "spec.ai.llm.authToken.secretRef".into();
            self.add(Role::Credentials, &path, &secret.group, &secret.kind, namespace.as_deref(), &secret.name);
        }
    }

    fn of_extension_policy(&mut self, spec: &EnvoyExtensionPolicySpec) {
        for (index, target) in spec.targets().enumerate() {
            self.policy_target(&FieldPath::from("spec.targetRefs").index(index), target);
        }
        for (index, processor) in spec.ext_proc.iter().enumerate() {
            let base = FieldPath::from("spec.extProc").index(index).field("backendRefs");
            for (index, r) in processor.backend_refs.iter().enumerate() {
                self.backend(r, &base.index(index));
            }
        }
        for (index, script) in spec.lua.iter().enumerate() {
            if let Some(r) = &script.value_ref {
                let path = FieldPath::from("spec.lua").index(index).field("valueRef");
                self.add(Role::Content, &path, &r.group, &r.kind, None, &r.name);
            }
        }
    }
}
