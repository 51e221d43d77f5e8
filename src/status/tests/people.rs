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
    ask_of(site(from_network, &state_in(&folder)), from, request).await
}

fn state_in(folder: &tempfile::TempDir) -> Arc<SetOnce<State>> {
    let place = Arc::new(SetOnce::new());
    place.set(State::open(&folder.path().join("state")).expect("a state").state).ok().expect("once");
    place
}

/// A page with one person.
fn site(from_network: bool, state: &Arc<SetOnce<State>>) -> Arc<Site> {
    let people = Arc::new(People::new(Arc::clone(state), Events::new().0, "Werk1/box"));
    people
        .add("anna", Role::Operator, &password::hash("correct horse battery").expect("random"), "root")
        .expect("one");
    let acts = Acts { people, actions: Arc::new([]), from_network };
    let listen = SocketAddr::from(([0, 0, 0, 0], 8080));
    let options = Options { listen, acts, ..Options::default() };
    let given = given();
    Arc::new(Site::new(options, listen, given.twin, given.facts, Default::default()))
}

async fn ask_of(site: Arc<Site>, from: IpAddr, mut request: Request<Body>) -> (StatusCode, String) {
    request.extensions_mut().insert(Peer(from));
    let service = TowerToHyperService::new(router(site));
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

#[tokio::test(flavor = "multi_thread")]
async fn a_page_does_not_wait_for_a_disk_that_the_state_is_saved_on() {
    use std::sync::mpsc;
    use std::time::Duration;

    let (folder, here) = (tempfile::tempdir().expect("a folder"), IpAddr::V4(Ipv4Addr::LOCALHOST));
    let state = state_in(&folder);
    let site = site(true, &state);
    let ((held, is_held), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
    let saving = std::thread::spawn(move || {
        let slow = std::iter::once_with(|| {
            held.send(()).expect("somebody waits");
            // The test must end where the page waits.
            let in_time = released.recv_timeout(Duration::from_secs(20)).is_ok();
            (if in_time { "answered" } else { "too late" }, Vec::new())
        });
        let mut name = "";
        let saved = slow.inspect(|(it, _)| name = *it);
        state.get().expect("it is open").save(crate::state::Table::Diary, saved).expect("a disk");
        name
    });
    is_held.recv().expect("it saves");
    let (status, door) = ask_of(Arc::clone(&site), here, door()).await;
    assert!(status == StatusCode::OK && door.contains("name=\"password\""), "{status}: {door}");
    let (status, _) = ask_of(site, here, form()).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    release.send(()).expect("it waits");
    assert_eq!(saving.join().expect("no panic"), "answered");
}
