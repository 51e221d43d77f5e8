//! The words and numbers of the page, without HTTP.

extern crate self as forebay;

#[path = "../../../tests/plant.rs"]
mod plant;

mod answers;
mod events;
mod health;
mod machines;
mod pages;
mod people;
mod standby;
mod tiles;
mod verdict;

use std::sync::Arc;

use forebay_connector::{Quality, Value};
use jiff::tz::TimeZone;
use plant::{FakeFacts, MINUTE_US, all_good, bearing, plant as six_machines, take_away};

use super::facts::{
    Backfill, ClockJump, DiskError, Errand, ErrandKind, Flash, Lane, PredictionState, ToItState,
};
use super::frame::{self, Place};
use super::judge::Letter;
use super::machine::machine;
use super::page;
use super::speech::Speech;
use super::view::{View, view};
use super::words::Language;
use crate::device::Text;
use crate::event::Kind;
use crate::twin::{Cause, Link, Twin};

/// 2026-02-11, a Wednesday, 14:36:05 in Berlin.
const NOW_US: i64 = 1_770_816_965_000_000;

fn speech(language: Language) -> Speech {
    let zone = TimeZone::get("Europe/Berlin").expect("the zone is bundled");
    Speech { language, words: language.words(), now_us: NOW_US, zone }
}

struct Given {
    twin: Arc<Twin>,
    facts: Arc<FakeFacts>,
}

fn given() -> Given {
    let twin = six_machines();
    all_good(&twin, NOW_US, 1_200_000);
    Given { twin, facts: FakeFacts::well() }
}

impl Given {
    fn view(&self, language: Language) -> View {
        view(&self.twin, &*self.facts, &speech(language))
    }

    fn verdict(&self) -> (Option<Letter>, String) {
        let verdict = self.view(Language::En).verdict;
        (verdict.letter, format!("{} {}{}", verdict.text, verdict.oldest, verdict.note).trim().to_owned())
    }

    fn spoil(&self, name: &str, tag: usize, quality: Quality) {
        self.twin.device(name).expect("a machine").state().values[tag].quality = quality;
    }
}

fn letter_of(view: &View, name: &str) -> (Option<Letter>, String) {
    let row = view.machines.iter().find(|row| row.name == name).expect("a machine");
    (row.letter, row.cause.clone())
}

fn place<'a>() -> Place<'a> {
    Place { path: "/", chosen: None, part: 1, build: "0", refresh: "5" }
}
