//! The page in a browser, a headless Chromium: `ci/browser` installs one and runs these tests.

use kit::{SOON, eventually};
use sinew::{AttemptError, EndpointOptions, Pub, WebSocketError};

use super::devtools::Browser;
use super::server::Server;

#[test]
#[ignore = "needs a Chromium, which ci/browser installs"]
fn a_page_shows_live_data_asks_tells_and_answers_and_comes_back() {
    let mut browser = Browser::start();
    let mut server = Server::start("127.0.0.1:0", "127.0.0.1:0");
    browser.open(&server.page);
    let shows = |id: &str, text: &str| {
        format!("document.getElementById('{id}')?.textContent.includes('{text}')")
    };

    browser.wait_for(&shows("process", &server.id().to_string()));
    browser.wait_for("document.getElementById('state').textContent === 'connected'");
    browser.wait_for(
        "document.querySelector('polyline').getAttribute('points').split(' ').length > 3",
    );
    browser.wait_for(&shows("present", "1 there: page "));

    browser.evaluate("document.querySelector('#ask button').click()");
    browser.wait_for(&shows("reply", "7 * 6 = 42"));
    browser.evaluate("document.querySelector('#tell button').click()");
    assert_eq!(server.line(), "told: hello from a page");
    browser.wait_for(&shows("notes", "hello from a page"));

    if let Some(path) = std::env::var_os("SINEW_PICTURE") {
        browser.wait_for(
            "document.querySelector('polyline').getAttribute('points').split(' ').length > 58",
        );
        browser.take_picture(path.as_ref());
    }

    // Another server at the same place.
    let places = server.places();
    drop(server);
    browser.wait_for(&shows("state", "not connected"));
    browser.evaluate("document.querySelector('#ask input').value = '1 + 1'");
    browser.evaluate("document.querySelector('#ask button').click()");
    let server = Server::start(&places[0], &places[1]);
    browser.wait_for(&shows("process", &server.id().to_string()));
    // Asked while nobody was there.
    browser.wait_for(&shows("reply", "1 + 1 = 2"));
}

/// A page of another origin is refused, and the listener says so.
#[test]
#[ignore = "needs a Chromium, which ci/browser installs"]
fn a_page_of_another_origin_is_refused() {
    let mut browser = Browser::start();
    let publisher = Pub::new();
    let endpoint = publisher.bind("ws://127.0.0.1:0/news").unwrap();
    let elsewhere = Server::start("127.0.0.1:0", "127.0.0.1:0");
    browser.open(&elsewhere.page);
    let url = endpoint.url();
    let connect = format!(
        "new Promise((done) => {{
            const socket = new WebSocket('{url}', 'pub.sp.nanomsg.org');
            socket.onopen = () => done('open');
            socket.onerror = () => done('refused');
        }})"
    );
    assert_eq!(browser.evaluate(&connect), "refused");
    let refused = AttemptError::WebSocket(WebSocketError::Origin(elsewhere.page.clone()));
    eventually("it is told", || endpoint.status().last_error.as_ref() == Some(&refused));
    assert_eq!(publisher.stats().handshake_errors, 1);

    let allowed = EndpointOptions::new().allow_origin(&elsewhere.page);
    let endpoint = publisher.bind_with("ws://127.0.0.1:0/news", &allowed).unwrap();
    assert_eq!(browser.evaluate(&connect.replace(&url, &endpoint.url())), "open");
    publisher.wait_for_peers(1, SOON).unwrap();
}
