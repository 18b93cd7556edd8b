//! Certificates, made anew for each run: nothing that could be mistaken for a real one is in the repository.

// Each program that includes this file uses a part of it.
#![allow(dead_code)]

use std::sync::OnceLock;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, date_time_ymd,
};
use sinew::tls::{TlsConfig, TlsConfigBuilder};

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with those above it, and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Own {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Own {
    /// The beginning of a configuration with this certificate.
    pub(crate) fn config(&self) -> TlsConfigBuilder {
        TlsConfig::builder().certificate(self.chain.clone(), self.key.clone())
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(Self::params(name), key).unwrap())
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params
    }

    /// An authority below this one.
    pub(crate) fn below(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::signed_by(Self::params(name), key, &self.0).unwrap())
    }

    /// The authority's own certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// What a peer with these names has at first, for all purposes.
    pub(crate) fn draft(names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.distinguished_name = named(names.first().map_or("nobody", |name| name));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2090, 1, 1);
        params
    }

    pub(crate) fn sign(&self, draft: CertificateParams) -> Own {
        let key = KeyPair::generate().unwrap();
        let own = draft.signed_by(&key, &self.0).unwrap();
        Own { chain: own.pem(), key: key.serialize_pem() }
    }

    pub(crate) fn issue(&self, names: &[&str]) -> Own {
        self.sign(Self::draft(names))
    }

    /// The list on which the certificates with these numbers are revoked.
    pub(crate) fn revoke(&self, numbers: &[u64]) -> String {
        let revoked = |&number: &u64| RevokedCertParams {
            serial_number: number.into(),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 2),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: numbers.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

/// The authority that most tests trust.
pub(crate) fn ours() -> &'static Authority {
    static OURS: OnceLock<Authority> = OnceLock::new();
    OURS.get_or_init(|| Authority::new("ours"))
}

/// A certificate of [`ours`] for this machine.
pub(crate) fn local() -> &'static Own {
    static LOCAL: OnceLock<Own> = OnceLock::new();
    LOCAL.get_or_init(|| ours().issue(&["localhost", "127.0.0.1", "::1"]))
}

/// Both sides show [`local`] and trust [`ours`].
pub(crate) fn mutual() -> TlsConfig {
    static MUTUAL: OnceLock<TlsConfig> = OnceLock::new();
    let config = || local().config().trust(ours().pem()).require_client_certificates().build();
    MUTUAL.get_or_init(|| config().unwrap()).clone()
}
