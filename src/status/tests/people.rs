//! Who may sign in from where.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::sync::SetOnce;

use super::*;
use crate::event::Events;
use crate::people::{People, Role, password};
use crate::state::State;
use crate::status::Options;
use crate::status::actions::Acts;
use crate::status::http::{Site, router};
use crate::status::listen::Peer;

const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 20, 0, 7));

/// Status and text of what a request from `from` is answered.
async fn ask(from_network: bool, from: IpAddr, request: Request<Body>) -> (StatusCode, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let place = Arc::new(SetOnce::new());
    place.set(State::open(&folder.path().join("state")).expect("a state").state).ok().expect("once");
    let people = Arc::new(People::new(place, Events::new().0, "Werk1/box"));
    people
        .add("anna", Role::Operator, &password::hash("correct horse battery").expect("random"), "root")
        .expect("one");
    let acts = Acts { people, actions: Arc::new([]), from_network };
    let listen = SocketAddr::from(([0, 0, 0, 0], 8080));
    let options = Options { listen, acts, ..Options::default() };
    let given = given();
    let site = Site::new(options, listen, given.twin, given.facts, Default::default());
    let mut request = request;
    request.extensions_mut().insert(Peer(from));
    let service = TowerToHyperService::new(router(Arc::new(site)));
    let answer = service.call(request).await.expect("a router always answers");
    let (parts, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("a whole answer");
    (parts.status, String::from_utf8(body.to_vec()).expect("text"))
}

fn form() -> Request<Body> {
    Request::post("/sign-in")
        .header(header::HOST, "10.20.0.1:8080")
        .header(header::ORIGIN, "http://10.20.0.1:8080")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from("name=anna&password=correct+horse+battery"))
        .expect("a request")
}

fn door() -> Request<Body> {
    Request::get("/sign-in").header(header::HOST, "10.20.0.1:8080").body(Body::empty()).expect("a request")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_crosses_the_network_only_when_the_configuration_says_so() {
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let (status, text) = ask(false, FAR, door()).await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("the password would go through the network unencrypted"), "{text}");
    assert!(!text.contains("<form"), "nothing to type a password into");
    let (status, text) = ask(false, FAR, form()).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{text}");
    assert_eq!(ask(false, here, form()).await.0, StatusCode::SEE_OTHER);
    assert!(ask(false, here, door()).await.1.contains("type=\"password\""));
    let (status, text) = ask(true, FAR, door()).await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("type=\"password\"") && text.contains("who listens there can read it"), "{text}");
    assert_eq!(ask(true, FAR, form()).await.0, StatusCode::SEE_OTHER);
}
