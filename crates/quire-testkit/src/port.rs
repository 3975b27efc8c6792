//! Where servers of tests listen.

/// A port of this machine that nobody listens on. Another process may take it first.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a loopback port")
        .port()
}
