//! The least that any HTTP proxy of this make costs: hyper in front, reqwest behind, the same bytes through, nothing looked
//! at. What a runtime costs more than this is what it does.

use std::{convert::Infallible, io, net::Ipv4Addr};

use hyper::{Request, Response, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use reqwest::{Body, Client};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// A proxy that listens.
pub struct Floor {
    listener: TcpListener,
    client: Client,
    to: String,
}

impl Floor {
    /// Listens on this port of 127.0.0.1 (0 takes a free one) and sends everything to `to`, a base URL.
    ///
    /// # Errors
    /// When the port is taken, or no client can be made.
    pub async fn open(to: &str, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let client = Client::builder().tcp_nodelay(true).build().map_err(io::Error::other)?;
        Ok(Self { listener, client, to: to.trim_end_matches('/').to_owned() })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn url(&self) -> io::Result<String> {
        Ok(format!("http://{}", self.listener.local_addr()?))
    }

    /// Serves for ever.
    ///
    /// # Errors
    /// When no connection can be accepted.
    pub async fn serve(self) -> io::Result<()> {
        let connections = TaskTracker::new();
        loop {
            let (stream, _) = self.listener.accept().await?;
            stream.set_nodelay(true)?;
            let (client, to) = (self.client.clone(), self.to.clone());
            let handler = service_fn(move |request| {
                let (client, to) = (client.clone(), to.clone());
                async move { Ok::<_, Infallible>(forward(&client, &to, request).await) }
            });
            connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), handler));
        }
    }
}

async fn forward(client: &Client, to: &str, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut upstream = client.request(head.method, format!("{to}{path}")).body(Body::wrap(body));
    if let Some(content_type) = head.headers.get(header::CONTENT_TYPE) {
        upstream = upstream.header(header::CONTENT_TYPE, content_type);
    }
    match upstream.send().await {
        Ok(answer) => {
            let (status, content_type) = (answer.status(), answer.headers().get(header::CONTENT_TYPE).cloned());
            let mut response = Response::new(Body::from(answer));
            *response.status_mut() = status;
            if let Some(content_type) = content_type {
                response.headers_mut().insert(header::CONTENT_TYPE, content_type);
            }
            response
        }
        Err(error) => {
            let mut response = Response::new(Body::from(error.to_string()));
            *response.status_mut() = hyper::StatusCode::BAD_GATEWAY;
            response
        }
    }
}
