//! A browser, driven over the pipe of its DevTools.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kit::{SOON, TempDir};
use serde_json::{Value, json};

/// A headless Chromium with one page.
#[derive(Debug)]
pub(crate) struct Browser {
    process: Child,
    commands: File,
    answers: BufReader<File>,
    number: u64,
    page: Option<String>,
    /// Whether the page that was opened last is there.
    is_loaded: bool,
    _directory: TempDir,
}

impl Browser {
    /// Starts the first that there is.
    pub(crate) fn start() -> Self {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let is_there = |name: &&str| {
            let mut version = Command::new(name);
            version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
            version.status().is_ok_and(|status| status.success())
        };
        let name = names.into_iter().find(is_there).expect("a Chromium: ci/browser installs one");
        let directory = TempDir::new();
        let [into, out] = ["in", "out"].map(|name| directory.path(name));
        assert!(Command::new("mkfifo").args([&into, &out]).status().unwrap().success());
        // The DevTools read commands from descriptor 3 and write answers to 4. The sandbox needs a user other than
        // root; what is shown here is our own page.
        let script = r#"exec "$0" --headless --no-sandbox --disable-gpu --no-first-run --disable-extensions \
            --disable-background-networking --remote-debugging-pipe --user-data-dir="$1" 3<"$2" 4>"$3""#;
        let process = Command::new("sh")
            .args(["-c", script, name])
            .args([&directory.path("profile"), &into, &out])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let commands = OpenOptions::new().write(true).open(&into).unwrap();
        let answers = BufReader::new(File::open(&out).unwrap());
        let (number, page, is_loaded) = (0, None, false);
        Self { process, commands, answers, number, page, is_loaded, _directory: directory }
    }

    /// Opens a page, and waits until it is loaded.
    pub(crate) fn open(&mut self, url: &str) {
        self.page = None;
        let target = self.command("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.command("Target.attachToTarget", attach);
        self.page = Some(session["sessionId"].as_str().expect("a session").to_owned());
        self.command("Page.enable", json!({}));
        self.is_loaded = false;
        let opened = self.command("Page.navigate", json!({ "url": url }));
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
        while !self.is_loaded {
            self.read();
        }
    }

    /// Waits until an expression is true in the page, and says what it is.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, expression: &str) -> Value {
        let millis = SOON.as_millis();
        let wait = format!(
            "new Promise((done, fail) => {{
                const end = Date.now() + {millis};
                const look = () => {{
                    const value = ({expression});
                    if (value) done(value);
                    else if (Date.now() > end) fail(new Error('never, but: ' + document.body.innerText));
                    else setTimeout(look, 20);
                }};
                look();
            }})"
        );
        self.evaluate(&wait)
    }

    /// Evaluates an expression in the page, and waits for its promise.
    #[track_caller]
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let all = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let outcome = self.command("Runtime.evaluate", all);
        let failed = &outcome["exceptionDetails"];
        assert!(failed.is_null(), "{expression}: {failed}");
        outcome["result"]["value"].clone()
    }

    /// Writes what the page shows to a PNG.
    pub(crate) fn take_picture(&mut self, path: &Path) {
        let size = json!({ "width": 660, "height": 440, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", size);
        let picture = self.command("Page.captureScreenshot", json!({ "format": "png" }));
        let mut decoder = Command::new("base64")
            .arg("--decode")
            .stdin(Stdio::piped())
            .stdout(File::create(path).unwrap())
            .spawn()
            .unwrap();
        let text = picture["data"].as_str().expect("a picture");
        decoder.stdin.take().expect("it is piped").write_all(text.as_bytes()).unwrap();
        assert!(decoder.wait().unwrap().success());
    }

    /// Gives a command and returns its answer.
    #[track_caller]
    fn command(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut command = json!({ "id": self.number, "method": method, "params": params });
        if let Some(page) = &self.page {
            command["sessionId"] = json!(page);
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).unwrap();
        loop {
            let answer = self.read();
            if answer["id"] == json!(self.number) {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// Reads an answer or an event.
    #[track_caller]
    fn read(&mut self) -> Value {
        let mut text = Vec::new();
        self.answers.read_until(0, &mut text).unwrap();
        assert_eq!(text.pop(), Some(0), "the browser is gone");
        let value: Value = serde_json::from_slice(&text).unwrap();
        self.is_loaded |= value["method"] == "Page.loadEventFired";
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It removes its own processes; if it does not, it is killed.
        let _ = self.commands.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if let Ok(Some(_)) = self.process.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
