//! A headless Chromium, driven by the DevTools protocol over a pipe.

use crate::place;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A browser with one page open.
pub struct Browser {
    child: Child,
    pipe: ChildStdin,
    messages: Receiver<Value>,
    /// Of the page; none before there is one.
    session: Option<String>,
    calls: u64,
    /// What the page told unasked, since it was last cleared.
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub width: u32,
    pub dark: bool,
    pub print: bool,
}

impl Browser {
    pub fn start() -> Browser {
        let profile = tempfile::tempdir().unwrap();
        // The protocol is spoken over descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null", "sh"])
            .arg(place("CHROMIUM"))
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"])
            .arg("--remote-debugging-pipe")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (pipe, out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(out).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("the browser speaks JSON");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let (session, events) = (None, Vec::new());
        let mut browser = Browser { child, pipe, messages, session, calls: 0, events, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    fn receive(&mut self, what: &str) -> Value {
        self.messages.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|e| panic!("{what}: {e}"))
    }

    /// Calls a method and waits for its result.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.pipe.write_all(&bytes).unwrap();
        self.pipe.flush().unwrap();
        loop {
            let mut answer = self.receive(method);
            if answer["id"] == self.calls {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }

    /// Opens a file and waits until it is loaded.
    pub fn open(&mut self, path: &Path, view: View) {
        let height = if view.width < 600 { 780 } else { 900 };
        let metrics =
            json!({ "width": view.width, "height": height, "deviceScaleFactor": 1, "mobile": view.width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let scheme = if view.dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        let media = if view.print { "print" } else { "" };
        self.call("Emulation.setEmulatedMedia", json!({ "media": media, "features": features }));
        self.events.clear();
        self.call("Page.navigate", json!({ "url": format!("file://{}", path.display()) }));
        while !self.events.iter().any(|e| e["method"] == "Page.loadEventFired") {
            let event = self.receive("loading");
            self.events.push(event);
        }
    }

    /// What a script evaluates to.
    pub fn evaluate(&mut self, script: &str) -> Value {
        let found = self.call("Runtime.evaluate", json!({ "expression": script, "returnByValue": true }));
        assert!(found.get("exceptionDetails").is_none(), "{found}");
        found["result"]["value"].clone()
    }

    /// Errors and warnings of the console, exceptions, and addresses outside the page that were asked for.
    pub fn complaints(&mut self) -> Vec<String> {
        let said = |event: &Value| {
            let params = &event["params"];
            match event["method"].as_str()? {
                "Log.entryAdded" => Some(params["entry"]["text"].to_string()),
                "Runtime.consoleAPICalled" => Some(params["args"].to_string()),
                "Runtime.exceptionThrown" => Some(params["exceptionDetails"].to_string()),
                "Network.requestWillBeSent" => {
                    let url = params["request"]["url"].as_str()?;
                    (!url.starts_with("file:") && !url.starts_with("data:")).then(|| format!("asks for {url}"))
                }
                _ => None,
            }
        };
        self.events.iter().filter_map(said).collect()
    }

    /// The whole page as PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        use base64::prelude::{BASE64_STANDARD, Engine};
        let found = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true, "format": "png" }));
        BASE64_STANDARD.decode(found["data"].as_str().unwrap()).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
