//! The feature `serde`: what sockets tell of themselves, as JSON.

use serde_json::{Value, json};
use sinew::metrics::Observe;
use sinew::{Device, DropReason, Options, Pull, Push, raw};

use kit::{SOON, Transport, eventually, join};

fn value(of: impl serde::Serialize) -> Value {
    serde_json::to_value(of).unwrap()
}

#[test]
fn a_snapshot_says_what_the_socket_says() {
    for transport in Transport::ALL {
        let push = Push::with_options(Options::new().name("out")).unwrap();
        let pull = Pull::with_options(Options::new().name("in")).unwrap();
        let (_address, endpoint) = join!(pull, push, transport);
        push.send("ten bytes!").unwrap();
        eventually("it has arrived", || pull.stats().recv_queue == 1);
        let peer = &pull.peers()[0];

        let all = value(pull.snapshot());
        assert_eq!(
            (&all["name"], &all["protocol"], &all["closed"]),
            (&json!("in"), &json!("pull"), &json!(false))
        );
        assert_eq!(all["stats"]["recv_queue"], 1);
        assert_eq!(all["stats"]["accepted_connections"], 1);
        let here = &all["endpoints"][0];
        assert_eq!((&here["url"], &here["listening"]), (&json!(endpoint.url()), &json!(true)));
        assert_eq!(here["status"]["state"], "listening");
        assert_eq!(here["status"]["last_error"], Value::Null);
        let there = &all["peers"][0];
        assert_eq!(there["peer"]["pipe"], peer.pipe.get());
        assert_eq!(there["peer"]["protocol"], "push");
        assert_eq!(there["peer"]["outgoing"], false);
        assert_eq!(there["peer"]["endpoint"], here["id"]);
        assert!(there["peer"]["connected_seconds"].as_f64().unwrap() >= 0.0);
        assert_eq!(there["recv_queue"]["messages"], 1);
        assert_eq!(there["drops"], json!({}));
    }
}

#[test]
fn counters_have_the_names_of_their_fields_and_drops_those_of_their_reasons() {
    let push = Push::with_options(Options::new().overflow(sinew::Overflow::DropNewest)).unwrap();
    push.send("to nobody").unwrap();
    let stats = push.stats();
    let all = value(&stats);
    for (name, figure) in stats.figures() {
        assert_eq!(all[name], figure, "{name}");
    }
    for (reason, count) in stats.dropped() {
        assert_eq!(all["drops"][reason.name()], count, "{reason}");
    }
    assert_eq!(all["drops"]["no_peer"], stats.drops(DropReason::NoPeer));
    assert_eq!(all.as_object().unwrap().len(), stats.figures().count() + 1);
}

#[test]
fn a_failing_endpoint_says_why_and_when_it_tries_again() {
    let push = Push::new();
    let endpoint = push.connect("tcp://127.0.0.1:1").unwrap();
    eventually("it waits", || value(endpoint.status())["state"] == "waiting");
    let status = value(endpoint.status());
    assert_eq!(status["last_error"], "connection refused");
    assert!(status["attempts"].as_u64().unwrap() >= 1);
}

#[test]
fn events_have_their_reasons() {
    let (push, pull) = (Push::new(), Pull::new());
    let events = pull.events();
    let _address = join!(pull, push, Transport::Tcp);
    push.close().unwrap();
    let kinds = [(); 3].map(|()| value(events.recv_timeout(SOON).unwrap())["kind"].clone());
    assert_eq!(
        kinds,
        [json!("attaching"), json!("attached"), json!({ "detached": "peer_closed" })]
    );
    let oversize = sinew::DetachReason::Io("no such thing".to_owned());
    assert_eq!(value(oversize), json!({ "io": "no such thing" }));
}

#[test]
fn a_device_tells_of_both_sockets_and_of_what_it_has_in_hand() {
    let device = Device::new(raw::Pull::new(), raw::Push::new()).unwrap();
    let stats = value(device.handle().stats());
    assert_eq!((&stats["front"]["messages_received"], &stats["held"]), (&json!(0), &json!(0)));
}
