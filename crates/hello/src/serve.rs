//! Serves the name of its node over HTTP and logs a line a second.
//!
//! SIGTERM ends it at once with code 0. One answer at a time: it is an example, not a server.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Where it listens unless `PORT` says otherwise.
const PORT: u16 = 8080;
/// A client that says nothing must not keep the next one waiting for long.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most bytes of a request's head that are read.
const HEAD_BYTES: u64 = 8 * 1024;
/// How often it logs.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// Runs until SIGTERM; fails when it cannot listen.
pub fn run(version: &str) -> ExitCode {
    let always = Arc::new(AtomicBool::new(true));
    for signal in [SIGTERM, SIGINT] {
        if let Err(error) = signal_hook::flag::register_conditional_shutdown(signal, 0, always.clone()) {
            println!("hello: no signal {signal}: {error}");
            return ExitCode::FAILURE;
        }
    }
    let port = match std::env::var("PORT").map(|port| port.parse()) {
        Ok(Ok(port)) => port,
        Ok(Err(_)) => {
            println!("hello: PORT is not a port number");
            return ExitCode::FAILURE;
        }
        Err(_) => PORT,
    };
    let listener = match listen(port) {
        Ok(listener) => listener,
        Err(error) => {
            println!("hello: cannot listen on port {port}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let node = std::env::var("NODE_NAME").unwrap_or_else(|_| "an unknown node".into());
    println!("hello:{version} on {node} listens on port {port}");
    std::thread::spawn({
        let text = format!("hello:{version} on {node}");
        move || log(&text)
    });
    let answer = answer(version, &node);
    for stream in listener.incoming().flatten() {
        // A client that went away is no failure of ours.
        let _ = reply(stream, &answer);
    }
    ExitCode::SUCCESS
}

/// IPv4 and IPv6 where the machine has both.
fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
        .or_else(|_| TcpListener::bind(("0.0.0.0", port)))
}

fn log(text: &str) {
    for second in 1u64.. {
        std::thread::sleep(LOG_EVERY);
        println!("{text}: {second}");
    }
}

/// `:1` answers the bare name of its node; later versions say who they are.
fn answer(version: &str, node: &str) -> String {
    match version {
        "1" => format!("{node}\n"),
        version => format!("{node} hello:{version}\n"),
    }
}

fn reply(mut stream: TcpStream, body: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = BufReader::new((&stream).take(HEAD_BYTES));
    for line in head.lines() {
        if line?.is_empty() {
            break;
        }
    }
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_with_the_name_of_the_node() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        reply(listener.accept().unwrap().0, &answer("2", "n1")).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nn1 hello:2\n"), "{text}");
    }
}
