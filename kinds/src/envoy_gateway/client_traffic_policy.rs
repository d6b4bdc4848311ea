//! ClientTrafficPolicy: how clients are met.

use smol_str::SmolStr;

use super::shared::*;
use crate::gateway::Duration;

records! {
    ClientTrafficPolicySpec {
        #[serde(flatten)]
        targets: PolicyTargets,
        tcp_keepalive: Option<TcpKeepalive>,
        enable_proxy_protocol: Option<bool>,
        proxy_protocol: Option<ClientProxyProtocol>,
        #[serde(rename = "clientIPDetection")]
        client_ip_detection: Option<ClientIpDetection>,
        tls: Option<ClientTls>,
        path: Option<PathSettings>,
        headers: Option<HeaderSettings>,
        timeout: Option<ClientTimeout>,
        connection: Option<ClientConnection>,
        http1: Option<Http1Settings>,
        http2: Option<Http2Settings>,
        http3: Option<Empty>,
        grpc: Option<GrpcSettings>,
        health_check: Option<HealthCheckPath>,
        scheme: Option<SchemeTransform>,
    }

    ClientProxyProtocol {
        optional: Option<bool>,
    }

    ClientIpDetection {
        x_forwarded_for: Option<XForwardedFor>,
        custom_header: Option<ClientIpHeader>,
        #[serde(rename = "directSourceIP")]
        direct_source_ip: Option<Empty>,
    }

    XForwardedFor {
        num_trusted_hops: Option<u32>,
        #[serde(rename = "trustedCIDRs")]
        trusted_cidrs: Vec<SmolStr>,
        #[serde(rename = "disableXForwardedForAppend")]
        disable_append: Option<bool>,
    }

    ClientIpHeader {
        name: SmolStr,
        fail_closed: Option<bool>,
    }

    ClientTls {
        #[serde(flatten)]
        parameters: TlsParameters,
        client_validation: Option<ClientValidation>,
        session: Option<TlsSession>,
    }

    ClientValidation {
        mode: Option<ClientValidationMode>,
        optional: Option<bool>,
        ca_certificate_refs: Vec<SecretRef>,
        spki_hashes: Vec<SmolStr>,
        certificate_hashes: Vec<SmolStr>,
        subject_alt_names: Option<SubjectAltNames>,
        crl: Option<CertificateRevocation>,
        allow_expired_certificate: Option<bool>,
    }

    SubjectAltNames {
        dns_names: Vec<StringMatch>,
        email_addresses: Vec<StringMatch>,
        ip_addresses: Vec<StringMatch>,
        uris: Vec<StringMatch>,
        other_names: Vec<OtherName>,
    }

    OtherName {
        oid: SmolStr,
        #[serde(flatten)]
        value: StringMatch,
    }

    CertificateRevocation {
        refs: Vec<SecretRef>,
        only_verify_leaf_certificate: Option<bool>,
    }

    TlsSession {
        resumption: Option<SessionResumption>,
    }

    SessionResumption {
        stateless: Option<Empty>,
        stateful: Option<Empty>,
    }

    PathSettings {
        escaped_slashes_action: Option<EscapedSlashes>,
        disable_merge_slashes: Option<bool>,
    }

    HeaderSettings {
        enable_envoy_headers: Option<bool>,
        disable_rate_limit_headers: Option<bool>,
        x_forwarded_client_cert: Option<ForwardedClientCert>,
        with_underscores_action: Option<UnderscoresAction>,
        #[serde(rename = "preserveXRequestID")]
        preserve_x_request_id: Option<bool>,
        #[serde(rename = "requestID")]
        request_id: Option<RequestIdAction>,
        early_request_headers: Option<HeaderEdits>,
        late_response_headers: Option<HeaderEdits>,
        host: Option<HostSettings>,
        max_request_header_limit: Option<Quantity>,
    }

    ForwardedClientCert {
        mode: Option<ForwardedClientCertMode>,
        cert_details_to_add: Vec<SmolStr>,
    }

    HostSettings {
        strip_trailing_host_dot: Option<bool>,
    }

    ClientTimeout {
        tcp: Option<ClientTcpTimeout>,
        http: Option<ClientHttpTimeout>,
    }

    ClientTcpTimeout {
        idle_timeout: Option<Duration>,
        tls_handshake_timeout: Option<Duration>,
        connection_inspection_timeout: Option<Duration>,
    }

    ClientHttpTimeout {
        request_received_timeout: Option<Duration>,
        request_headers_received_timeout: Option<Duration>,
        idle_timeout: Option<Duration>,
        stream_idle_timeout: Option<Duration>,
    }

    ClientConnection {
        connection_limit: Option<ConnectionLimit>,
        buffer_limit: Option<Quantity>,
        socket_buffer_limit: Option<Quantity>,
        max_accept_per_socket_event: Option<u32>,
    }

    ConnectionLimit {
        value: Option<u64>,
        close_delay: Option<Duration>,
        max_connection_duration: Option<Duration>,
        max_requests_per_connection: Option<u32>,
        max_stream_duration: Option<Duration>,
    }

    Http1Settings {
        enable_trailers: Option<bool>,
        preserve_header_case: Option<bool>,
        http10: Option<Http10Settings>,
        disable_safe_max_connection_duration: Option<bool>,
        ignored_upgrade_types: Vec<StringMatch>,
    }

    Http10Settings {
        use_default_host: Option<bool>,
    }

    GrpcSettings {
        enable_web: Option<bool>,
    }

    HealthCheckPath {
        path: SmolStr,
    }
}

words! {
    ClientValidationMode { Request, RequireAny, VerifyIfGiven, RequireAndVerify, }

    EscapedSlashes { KeepUnchanged, RejectRequest, UnescapeAndForward, UnescapeAndRedirect, }

    UnderscoresAction { Allow, RejectRequest, DropHeader, }

    RequestIdAction { PreserveOrGenerate, Preserve, Generate, Disable, }

    ForwardedClientCertMode { Sanitize, ForwardOnly, AppendForward, SanitizeSet, AlwaysForwardOnly, }

    SchemeTransform { Preserve, MatchBackend, }
}
