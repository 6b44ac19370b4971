//! A web server with faults.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request.
pub struct Request {
    /// How often was asked before.
    pub nth: usize,
    /// What is asked for: a path, or a host and a port if this is the proxy.
    pub target: String,
    /// The first byte asked for.
    pub from: Option<usize>,
}

/// What is sent before the connection is closed.
pub struct Reply {
    pub status: &'static str,
    pub headers: String,
    pub body: Vec<u8>,
    /// The time until it is closed.
    pub silence: Duration,
}

impl Reply {
    pub fn status(status: &'static str) -> Reply {
        Reply { status, headers: "Content-Length: 0\r\n".into(), body: Vec::new(), silence: Duration::ZERO }
    }

    /// As servers do it: the whole, or what a range asks for.
    pub fn file(content: &[u8], request: &Request) -> Reply {
        match request.from {
            Some(from) if from > 0 => Reply::range(content, from),
            _ => Reply::whole(content),
        }
    }

    pub fn whole(content: &[u8]) -> Reply {
        let headers = format!("Content-Length: {}\r\n", content.len());
        Reply { status: "200 OK", headers, body: content.to_vec(), silence: Duration::ZERO }
    }

    pub fn range(content: &[u8], from: usize) -> Reply {
        let (all, last) = (content.len(), content.len() - 1);
        let headers = format!("Content-Length: {}\r\nContent-Range: bytes {from}-{last}/{all}\r\n", all - from);
        Reply { status: "206 Partial Content", headers, body: content[from..].to_vec(), silence: Duration::ZERO }
    }

    /// The same, of which only so many bytes are sent.
    pub fn cut(mut self, bytes: usize) -> Reply {
        self.body.truncate(bytes);
        self
    }
}

/// A server of this test.
pub struct Server {
    pub url: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let of_server = log.clone();
        // It ends with the process.
        std::thread::spawn(move || {
            let answer = Arc::new(answer);
            for (nth, connection) in listener.incoming().enumerate() {
                let (log, answer) = (of_server.clone(), answer.clone());
                std::thread::spawn(move || serve(connection.unwrap(), nth, &log, &*answer));
            }
        });
        Server { url, log }
    }

    /// Serves a file as servers do.
    pub fn of(content: Vec<u8>) -> Server {
        Server::start(move |request| Reply::file(&content, request))
    }

    /// What was asked for: the target, and from which byte on.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

fn serve(connection: TcpStream, nth: usize, log: &Mutex<Vec<String>>, answer: &dyn Fn(&Request) -> Reply) {
    let mut lines = BufReader::new(&connection).lines().map_while(Result::ok);
    while let Some(first) = lines.next() {
        let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let headers: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        let range = headers.iter().find_map(|h| h.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
        let from: Option<usize> = range.map(|range| range.strip_suffix('-').unwrap().parse().unwrap());
        log.lock().unwrap().push(format!("{target} {}", from.map_or("all".to_string(), |from| from.to_string())));
        // A proxy: what comes through the tunnel is answered here as well, which TLS would not take.
        if first.starts_with("CONNECT ") && target.ends_with(":80") {
            (&connection).write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            continue;
        }
        let Reply { status, headers, body, silence } = answer(&Request { nth, target, from });
        let head = format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n");
        // A client that has seen enough may be gone.
        let _ = (&connection).write_all(head.as_bytes()).and_then(|()| (&connection).write_all(&body));
        std::thread::sleep(silence);
        return;
    }
}
