//! Who is let in, by certificates of every kind, and what is told of it.

use kit::{SOON, attached, eventually};
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use sinew::tls::{TlsConfig, TlsConfigError};
use sinew::{
    AttemptError, BindError, ConnectError, Endpoint, EndpointOptions, Options, Pair, Pull, Push,
    TlsError,
};

use crate::certificates::{Authority, Own, local, mutual, ours};

const HERE: &str = "tls+tcp://127.0.0.1:0";

fn pull(config: TlsConfig) -> (Pull, Endpoint) {
    let pull = Pull::with_options(Options::new().tls(config)).unwrap();
    let endpoint = pull.bind(HERE).unwrap();
    (pull, endpoint)
}

fn push(config: TlsConfig) -> Push {
    Push::with_options(Options::new().tls(config)).unwrap()
}

/// Trusts our authority, and has no certificate.
fn trusting() -> TlsConfig {
    TlsConfig::builder().trust(ours().pem()).build().unwrap()
}

/// What the one attempt of who connects comes to.
#[track_caller]
fn refused(outcome: Result<Endpoint, ConnectError>) -> TlsError {
    match outcome {
        Err(ConnectError::Failed { source: AttemptError::Tls(error), .. }) => error,
        other => panic!("{other:?}"),
    }
}

/// What the listener tells of the last peer that it has refused.
#[track_caller]
fn told(endpoint: &Endpoint, count: u64, handshake_errors: impl Fn() -> u64) -> TlsError {
    eventually("the listener knows", || handshake_errors() == count);
    match endpoint.status().last_error {
        Some(AttemptError::Tls(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn passes(push: &Push, pull: &Pull, word: &str) {
    push.send_timeout(word, SOON).unwrap();
    assert_eq!(pull.recv_timeout(SOON).unwrap(), word);
}

/// C323, J4: each listener shows a certificate with which something is wrong. It is told, and serves others.
#[test]
fn a_server_whose_certificate_is_wrong_is_refused_in_so_many_words() {
    let draft = || Authority::draft(&["127.0.0.1"]);
    let (mut expired, mut early, mut client) = (draft(), draft(), draft());
    expired.not_after = date_time_ymd(2021, 1, 1);
    early.not_before = date_time_ymd(2089, 1, 1);
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let elsewhere = ours().issue(&["elsewhere.example", "192.0.2.1"]);
    let below = ours().below("below").issue(&["127.0.0.1"]);
    let name = "127.0.0.1".to_owned();
    let table = [
        (ours().sign(expired), TlsError::Expired),
        (ours().sign(early), TlsError::NotYetValid),
        (elsewhere, TlsError::WrongName { expected: name }),
        (Authority::new("theirs").issue(&["127.0.0.1"]), TlsError::UnknownAuthority),
        // Without the link in between.
        (below, TlsError::UnknownAuthority),
    ];
    for (own, expected) in table {
        is_refused(own, |error| assert_eq!(*error, expected));
    }
    is_refused(ours().sign(client), |error| assert!(matches!(error, TlsError::BadCertificate(_))));
    // An authority that only calls itself ours.
    let forged = Authority::new("ours").issue(&["127.0.0.1"]);
    is_refused(forged, |error| {
        assert!(matches!(error, TlsError::BadCertificate(_) | TlsError::UnknownAuthority))
    });
}

/// Who connects refuses this certificate, and the listener is told.
#[track_caller]
fn is_refused(own: Own, check: impl FnOnce(&TlsError)) {
    let (pull, endpoint) = pull(own.config().build().unwrap());
    let push = push(trusting());
    check(&refused(push.connect_now(endpoint.url())));
    let error = told(&endpoint, 1, || pull.stats().handshake_errors);
    assert!(matches!(error, TlsError::Alert(_)), "{error}");
    assert_eq!(push.stats().connect_errors, 1);
    assert!(push.peers().is_empty() && pull.peers().is_empty());
}

/// C323: who does not verify connects, sees no identity, and the listener serves it as any other.
#[test]
fn who_does_not_verify_takes_any_certificate_and_knows_nobody() {
    let (pull, endpoint) =
        pull(Authority::new("theirs").issue(&["elsewhere"]).config().build().unwrap());
    assert_eq!(refused(push(trusting()).connect_now(endpoint.url())), TlsError::UnknownAuthority);
    let careless = TlsConfig::builder().dangerously_accept_any_server().build().unwrap();
    let push = push(careless);
    push.connect_now(endpoint.url()).unwrap();
    passes(&push, &pull, "to whomever it may concern");
    assert_eq!(push.peers()[0].identity, None);
}

/// A socket that was given nothing trusts the system, which does not know us.
#[test]
fn without_a_configuration_the_authorities_of_the_system_count() {
    let (pull, endpoint) = pull(local().config().build().unwrap());
    let push = Push::new();
    match refused(push.connect_now(endpoint.url())) {
        // The second on a system that has none.
        TlsError::UnknownAuthority | TlsError::Setup(_) => {}
        other => panic!("{other:?}"),
    }
    assert!(pull.peers().is_empty());
}

/// C324, J5.
#[test]
fn without_a_certificate_nothing_is_bound() {
    for config in [None, Some(trusting())] {
        let pull = Pull::with_options(Options::new().tls(config)).unwrap();
        match pull.bind(HERE) {
            Err(BindError::Tls { source, url }) => {
                assert_eq!((source, url.as_str()), (TlsConfigError::NoOwnCertificate, HERE));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(pull.stats().bind_errors, 1);
    }
}

/// J5: what cannot be used is an error before there is a socket.
#[test]
fn what_makes_no_configuration_is_refused_when_it_is_built() {
    let Own { chain, key } = local().clone();
    let other = ours().issue(&["other"]).key;
    let build = |chain: &str, key: &str| TlsConfig::builder().certificate(chain, key).build();
    assert_eq!(build("", &key).unwrap_err(), TlsConfigError::NoCertificate);
    assert_eq!(build(&chain, "").unwrap_err(), TlsConfigError::NoKey);
    assert_eq!(build(&chain, &other).unwrap_err(), TlsConfigError::KeyMismatch);
    let cut = chain.replace("-----END", "-----");
    assert!(matches!(build(&cut, &key), Err(TlsConfigError::Pem(_))));
    let nothing = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(build(nothing, &key), Err(TlsConfigError::Certificate(_))));
    let files = TlsConfig::builder().certificate_files("/no/such/chain", "/no/such/key").build();
    assert!(matches!(files, Err(TlsConfigError::Read { path, .. }) if path.ends_with("chain")));
    let open = local().config().require_client_certificates().build();
    assert_eq!(open.unwrap_err(), TlsConfigError::NoAuthorities);
    let name = TlsConfig::builder().trust(ours().pem()).server_name("no such name").build();
    assert_eq!(name.unwrap_err(), TlsConfigError::Name("no such name".to_owned()));
}

/// C325.
#[test]
fn a_client_without_a_certificate_or_with_a_wrong_one_is_refused() {
    let mut expired = Authority::draft(&["somebody"]);
    expired.not_after = date_time_ymd(2021, 1, 1);
    let config = |own: Own| own.config().trust(ours().pem()).build().unwrap();
    let theirs = Authority::new("theirs").issue(&["somebody"]);
    let table = [
        (trusting(), TlsError::NoCertificate, "certificate required"),
        (config(theirs), TlsError::UnknownAuthority, "unknown ca"),
        (config(ours().sign(expired)), TlsError::Expired, "certificate expired"),
    ];
    for tls13 in [true, false] {
        for (config, here, there) in &table {
            let builder = local().config().trust(ours().pem()).require_client_certificates();
            let builder = if tls13 { builder.only_tls13() } else { builder };
            let (pull, endpoint) = pull(builder.build().unwrap());
            let push = push(config.clone());
            assert_eq!(
                refused(push.connect_now(endpoint.url())),
                TlsError::Alert((*there).to_owned())
            );
            assert_eq!(told(&endpoint, 1, || pull.stats().handshake_errors), *here);
            assert!(pull.peers().is_empty());
        }
    }
}

/// C325, J12: the right one is let in, and both know whom they talk to, in events and lists.
#[test]
fn both_know_whom_they_talk_to() {
    let office = ours().issue(&["office.example", "127.0.0.1", "office@example.org"]);
    let caller = ours().below("below");
    let mut own = caller.issue(&["caller.example"]);
    own.chain += &caller.pem();
    let config = |own: &Own| own.config().trust(ours().pem()).require_client_certificates().build();
    let (pull, endpoint) = pull(config(&office).unwrap());
    let (push, events) = (push(config(&own).unwrap()), pull.events());
    push.connect_now(endpoint.url()).unwrap();
    attached(&events);
    passes(&push, &pull, "it is me");

    let there = push.peers()[0].identity.clone().unwrap();
    assert_eq!(there.common_name(), Some("office.example"));
    let names: Vec<_> = there.names().collect();
    assert_eq!(names, ["office.example", "127.0.0.1", "office@example.org"]);
    assert_eq!(there.to_string(), "office.example");
    let here = pull.peers()[0].identity.clone().unwrap();
    assert_eq!(here.names().collect::<Vec<_>>(), ["caller.example"]);
    assert_eq!(here.certificates().len(), 2, "with the link in between");
    assert!(!format!("{here:?}").contains("PRIVATE"));
}

/// C325, J12: the program decides by the names, before any message passes.
#[test]
fn the_program_lets_in_by_name() {
    let admit = |peer: &sinew::Peer| {
        peer.identity.as_ref().is_some_and(|who| who.names().any(|name| name == "friend.example"))
    };
    let pull = Pull::with_options(Options::new().tls(mutual()).admit(admit)).unwrap();
    let endpoint = pull.bind(HERE).unwrap();
    for (name, is_in) in [("foe.example", false), ("friend.example", true)] {
        let own = ours().issue(&[name]);
        let push = push(own.config().trust(ours().pem()).build().unwrap());
        let _ = push.connect_with(endpoint.url(), &EndpointOptions::new()).unwrap();
        if is_in {
            passes(&push, &pull, name);
            assert_eq!(pull.peers()[0].identity.as_ref().unwrap().common_name(), Some(name));
        } else {
            eventually("it is turned away", || pull.stats().rejected_pipes >= 1);
        }
    }
}

/// A client may show a certificate; a wrong one is worse than none.
#[test]
fn who_is_asked_may_stay_silent_but_not_lie() {
    let asking = local().config().trust(ours().pem()).request_client_certificates();
    let (pull, endpoint) = pull(asking.build().unwrap());
    let silent = push(trusting());
    silent.connect_now(endpoint.url()).unwrap();
    passes(&silent, &pull, "nobody");
    assert_eq!(pull.peers()[0].identity, None);
    let liar = Authority::new("theirs").issue(&["somebody"]);
    let liar = push(liar.config().trust(ours().pem()).build().unwrap());
    assert!(matches!(refused(liar.connect_now(endpoint.url())), TlsError::Alert(_)));
}

/// J4: on either side. Others that the same authority has issued are good.
#[test]
fn a_certificate_that_is_revoked_is_refused() {
    let numbered = |number: u64| {
        let mut draft = Authority::draft(&["127.0.0.1"]);
        draft.serial_number = Some(number.into());
        ours().sign(draft)
    };
    let careful = |own: Own| own.config().trust(ours().pem()).revoked(ours().revoke(&[7, 8]));
    let (pull_7, endpoint) = pull(numbered(7).config().build().unwrap());
    let push_9 = push(careful(numbered(9)).build().unwrap());
    assert_eq!(refused(push_9.connect_now(endpoint.url())), TlsError::Revoked);
    assert!(pull_7.peers().is_empty());

    let (pull, endpoint) =
        pull(careful(local().clone()).require_client_certificates().build().unwrap());
    let push_8 = push(numbered(8).config().trust(ours().pem()).build().unwrap());
    assert!(matches!(refused(push_8.connect_now(endpoint.url())), TlsError::Alert(_)));
    assert_eq!(told(&endpoint, 1, || pull.stats().handshake_errors), TlsError::Revoked);
    push_9.connect_now(endpoint.url()).unwrap();
    passes(&push_9, &pull, "I am nine");
    // What came behind the certificate was not forgotten when the library was asked for its alert.
    assert_eq!(sinew::contained_panics(), 0);
}

/// J4: a chain of 100, which no library follows to its end.
#[test]
fn a_chain_that_is_too_long_is_refused() {
    let mut links = vec![ours().below("link 0")];
    for number in 1..100 {
        links.push(links[number - 1].below(&format!("link {number}")));
    }
    let mut own = links.last().unwrap().issue(&["127.0.0.1"]);
    links.iter().rev().for_each(|link| own.chain += &link.pem());
    let (pull, endpoint) =
        pull(local().config().trust(ours().pem()).require_client_certificates().build().unwrap());
    let client = push(own.config().trust(ours().pem()).build().unwrap());
    assert!(client.connect_now(endpoint.url()).is_err());
    assert_eq!(told(&endpoint, 1, || pull.stats().handshake_errors), TlsError::TooLong(32 * 1024));

    let (_pull, endpoint) = self::pull(own.config().build().unwrap());
    match refused(push(trusting()).connect_now(endpoint.url())) {
        TlsError::BadCertificate(_) | TlsError::UnknownAuthority => {}
        other => panic!("{other:?}"),
    }
}

/// Of several certificates the one is shown that the client asks for.
#[test]
fn the_certificate_follows_the_name_that_is_asked_for() {
    let (b, wild) = (ours().issue(&["b.example"]), ours().issue(&["*.wild.example"]));
    let config = local().config().certificate(b.chain, b.key).certificate(wild.chain, wild.key);
    let (pull, endpoint) = pull(config.build().unwrap());
    for (asked, shown) in [
        ("b.example", "b.example"),
        ("x.wild.example", "*.wild.example"),
        ("localhost", "localhost"),
    ] {
        let config = TlsConfig::builder().trust(ours().pem()).server_name(asked).build().unwrap();
        let push = push(config);
        push.connect_now(endpoint.url()).unwrap();
        passes(&push, &pull, asked);
        assert_eq!(push.peers()[0].identity.as_ref().unwrap().common_name(), Some(shown));
    }
    let nobody = TlsConfig::builder().trust(ours().pem()).server_name("nobody.example");
    let refused = refused(push(nobody.build().unwrap()).connect_now(endpoint.url()));
    assert_eq!(refused, TlsError::WrongName { expected: "nobody.example".to_owned() });
}

/// A certificate is renewed while the listener listens and has a peer.
#[test]
fn a_certificate_is_replaced_without_a_restart() {
    let (old, new) = (ours().issue(&["127.0.0.1", "old"]), ours().issue(&["127.0.0.1", "new"]));
    let config = old.config().build().unwrap();
    let (pull, endpoint) = pull(config.clone());
    let early = push(trusting());
    early.connect_now(endpoint.url()).unwrap();
    config.replace(&new.config().build().unwrap());
    let late = push(trusting());
    late.connect_now(endpoint.url()).unwrap();
    for (push, name) in [(&early, "old"), (&late, "new")] {
        passes(push, &pull, name);
        let who = push.peers()[0].identity.clone().unwrap();
        assert!(who.names().any(|known| known == name), "{who:?}");
    }
}

/// C327: the identity is that of the session that is resumed.
#[test]
fn a_session_is_resumed_with_the_identity_of_the_first() {
    let (pull, config) = (Pair::with_options(Options::new().tls(mutual())).unwrap(), mutual());
    let endpoint = pull.bind(HERE).unwrap();
    let push = Pair::with_options(Options::new().tls(config)).unwrap();
    for round in 0..3 {
        let dialer = push.connect_now(endpoint.url()).unwrap();
        push.send_timeout("again", SOON).unwrap();
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "again");
        // By then the ticket has come.
        pull.send_timeout("and again", SOON).unwrap();
        assert_eq!(push.recv_timeout(SOON).unwrap(), "and again");
        let who = pull.peers()[0].identity.clone().unwrap();
        assert_eq!(who.common_name(), Some("localhost"), "round {round}");
        dialer.close().unwrap();
        eventually("it is gone", || pull.peers().is_empty());
    }
}

/// Both versions, by the words of one side; the other one takes both.
#[test]
fn both_versions_are_spoken() {
    for tls13 in [true, false] {
        let builder = local().config();
        let builder = if tls13 { builder.only_tls13() } else { builder };
        let (pull, endpoint) = pull(builder.build().unwrap());
        let push = push(trusting());
        push.connect_now(endpoint.url()).unwrap();
        passes(&push, &pull, "hello");
    }
}

/// The switch of one endpoint goes before that of its socket.
#[test]
fn an_endpoint_may_have_a_configuration_of_its_own() {
    let (pull, endpoint) = pull(local().config().build().unwrap());
    let push = Push::new();
    push.connect_with(endpoint.url(), &EndpointOptions::new().tls(trusting())).unwrap();
    passes(&push, &pull, "hello");
}
