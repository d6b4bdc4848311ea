//! TLS parameters, whichever side terminates it.

use smol_str::SmolStr;

use super::{records, words};

records! {
    TlsParameters {
        min_version: Option<TlsVersion>,
        max_version: Option<TlsVersion>,
        ciphers: Vec<SmolStr>,
        ecdh_curves: Vec<SmolStr>,
        signature_algorithms: Vec<SmolStr>,
        alpn_protocols: Vec<SmolStr>,
        fingerprints: Vec<Fingerprint>,
    }
}

words! {
    TlsVersion {
        Auto,
        #[serde(rename = "1.0")]
        V1_0,
        #[serde(rename = "1.1")]
        V1_1,
        #[serde(rename = "1.2")]
        V1_2,
        #[serde(rename = "1.3")]
        V1_3,
    }

    Fingerprint {
        #[serde(rename = "JA3")]
        Ja3,
        #[serde(rename = "JA4")]
        Ja4,
    }
}
