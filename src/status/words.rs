//! Every word of the page, in English and German. `{0}`, `{1}` … are filled in by [`fill`].

use std::sync::LazyLock;

/// Language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Language {
    /// English.
    #[default]
    En,
    /// German.
    De,
    /// English, each text 40 % longer: shows in tests where the layout has no room. No request
    /// can choose it, only [`super::Options`].
    Stretched,
}

impl Language {
    /// Languages a reader can choose.
    pub const CHOICES: [Self; 2] = [Self::En, Self::De];

    /// Value of the `lang` attribute and of `?lang=`.
    pub fn code(self) -> &'static str {
        match self {
            Self::En | Self::Stretched => "en",
            Self::De => "de",
        }
    }

    /// The choosable language with this code.
    pub fn parse(code: &str) -> Option<Self> {
        Self::CHOICES.into_iter().find(|language| language.code().eq_ignore_ascii_case(code))
    }

    /// The first language of an `Accept-Language` header that we speak, by its weights
    /// (RFC 9110, section 12.5.4).
    pub(super) fn accepted(header: &str) -> Option<Self> {
        let mut best: Option<(f32, Self)> = None;
        for entry in header.split(',').take(32) {
            let mut parts = entry.split(';');
            let tag = parts.next().unwrap_or_default().trim();
            let weight = parts.find_map(|p| p.trim().strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
            let language = Self::parse(tag.split('-').next().unwrap_or_default());
            if let Some(language) = language
                && weight > 0.0
                && best.is_none_or(|(so_far, _)| weight > so_far)
            {
                best = Some((weight, language));
            }
        }
        best.map(|(_, language)| language)
    }

    pub(super) fn words(self) -> &'static Words {
        static STRETCHED: LazyLock<Words> = LazyLock::new(Words::stretched);
        match self {
            Self::En => &Words::EN,
            Self::De => &Words::DE,
            Self::Stretched => &STRETCHED,
        }
    }

    /// The words of "Is anything about to fail?".
    pub(super) fn health_words(self) -> &'static HealthWords {
        static STRETCHED: LazyLock<HealthWords> = LazyLock::new(HealthWords::stretched);
        match self {
            Self::En => &HealthWords::EN,
            Self::De => &HealthWords::DE,
            Self::Stretched => &STRETCHED,
        }
    }

    /// The words around people.
    pub(super) fn people_words(self) -> &'static PeopleWords {
        static STRETCHED: LazyLock<PeopleWords> = LazyLock::new(PeopleWords::stretched);
        match self {
            Self::En => &PeopleWords::EN,
            Self::De => &PeopleWords::DE,
            Self::Stretched => &STRETCHED,
        }
    }

    /// The words of the events.
    pub(super) fn event_words(self) -> &'static EventWords {
        static STRETCHED: LazyLock<EventWords> = LazyLock::new(EventWords::stretched);
        match self {
            Self::En => &EventWords::EN,
            Self::De => &EventWords::DE,
            Self::Stretched => &STRETCHED,
        }
    }
}

/// Puts `parts` in the places `{0}`, `{1}` … of `template`. What is put in is never searched again.
pub(super) fn fill(template: &str, parts: &[&str]) -> String {
    let mut out = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some((before, (place, after))) =
        rest.split_once('{').and_then(|(before, after)| Some((before, after.split_once('}')?)))
    {
        out.push_str(before);
        out.push_str(
            place.parse().ok().and_then(|place: usize| parts.get(place)).copied().unwrap_or_default(),
        );
        rest = after;
    }
    out.push_str(rest);
    out
}

macro_rules! words {
    ($struct:ident: $($name:ident: $en:literal, $de:literal;)*) => {
        /// The texts of one language.
        pub(in crate::status) struct $struct {
            $(pub(in crate::status) $name: &'static str,)*
        }

        impl $struct {
            pub(super) const EN: Self = Self { $($name: $en,)* };
            pub(super) const DE: Self = Self { $($name: $de,)* };

            /// Made once, so that leaking its texts costs nothing.
            pub(super) fn stretched() -> Self {
                Self { $($name: $crate::status::words::stretch($en),)* }
            }

            #[cfg(test)]
            pub(super) const ALL: &[(&str, &str, &str)] = &[$((stringify!($name), $en, $de),)*];
        }
    };
}

mod events;
mod health;
mod people;

pub(super) use events::EventWords;
pub(super) use health::HealthWords;
pub(super) use people::PeopleWords;

/// `text` with 40 % more letters in words of common length; single letters stay as they are.
fn stretch(text: &'static str) -> &'static str {
    let letters = text.chars().count();
    if letters < 3 {
        return text;
    }
    let more = (letters * 2).div_ceil(5);
    let filler: String = " langer".chars().cycle().take(more).collect();
    Box::leak(format!("{text}{}", filler.trim_end()).into_boxed_str())
}

words! {
    Words:
    // Numbers and times.
    decimal: ".", ",";
    days: "Sun Mon Tue Wed Thu Fri Sat", "So Mo Di Mi Do Fr Sa";
    one_day: "1 day", "1 Tag";
    many_days: "{0} days", "{0} Tage";
    times_are: "Times are those of this box: {0}.", "Zeiten sind die dieser Box: {0}.";
    many_months: "about {0} months", "etwa {0} Monate";
    many_years: "about {0} years", "etwa {0} Jahre";
    over_100_years: "more than 100 years", "mehr als 100 Jahre";
    about: "about {0}", "etwa {0}";
    over_a_year: "more than a year", "mehr als ein Jahr";

    // The past of a value.
    trend_hour: "1 hour", "1 Stunde";
    trend_day: "24 hours", "24 Stunden";
    trend_week: "7 days", "7 Tage";
    trend_low_high: "Lowest {0}, highest {1}.", "Tiefster Wert {0}, höchster {1}.";
    trend_from_to: "From {0} to {1}, time of this box: {2}.", "Von {0} bis {1}, Zeit dieser Box: {2}.";
    trend_nothing: "This box has no numbers of that time: nothing was stored, or it has made room for newer values.",
        "Diese Box hat aus dieser Zeit keine Zahlen: Nichts wurde gespeichert, oder Neueres brauchte den Platz.";
    trend_cut: "There is too much to read at once: the end of the curve is missing. Choose a shorter time.",
        "Zu viel auf einmal zu lesen: Das Ende der Kurve fehlt. Bitte eine kürzere Zeit wählen.";

    // Verdicts.
    none_set_up: "No machine is set up yet. Machines are described in the folder “devices” of this box.",
        "Noch keine Maschine eingerichtet. Maschinen stehen im Ordner „devices“ dieser Box.";
    stands_by: "This box stands by: {0}.", "Diese Box steht bereit: {0}.";
    starting_one: "Starting: {0} is being connected.", "Start: {0} wird verbunden.";
    starting_many: "Starting: {0} machines are being connected.", "Start: {0} Maschinen werden verbunden.";
    one_delivers: "{0} delivers data.", "{0} liefert Daten.";
    all_deliver: "All {0} machines deliver data.", "Alle {0} Maschinen liefern Daten.";
    some_deliver: "{0} of {1} machines deliver data, the others are being connected.",
        "{0} von {1} Maschinen liefern Daten, die anderen werden verbunden.";
    oldest: "Oldest value {0}.", "Ältester Wert {0}.";
    sent_nothing: "{0} has sent nothing since {1} ({2}).", "{0} sendet seit {1} nichts ({2}).";
    none_sends: "No machine has sent anything since {0} ({1}).", "Seit {0} sendet keine Maschine ({1}).";
    several_same: "{0} of {1} machines have sent nothing since {2} ({3}): {4}.",
        "{0} von {1} Maschinen senden seit {2} nichts ({3}): {4}.";
    the_start: "the start at {0}", "dem Start um {0}";
    not_read_only: "{0} is not read ({1}).", "{0} wird nicht gelesen ({1}).";
    not_read_one: "{0} of {1} machines is not read: {2} ({3}).",
        "{0} von {1} Maschinen wird nicht gelesen: {2} ({3}).";
    not_read_many: "{0} of {1} machines are not read: {2} ({3}).",
        "{0} von {1} Maschinen werden nicht gelesen: {2} ({3}).";
    several_mixed: "{0} of {1} machines deliver no data: {2}.",
        "{0} von {1} Maschinen liefern keine Daten: {2}.";
    name_and_hint: "{0} ({1})", "{0} ({1})";
    and_more: "{0} more", "{0} weitere";
    common_cause: "network, switch or power?", "Netzwerk, Switch oder Strom?";
    disk_trouble: "This box cannot write to its disk since {0}: new values are in memory at most, and that lasts only a short time.",
        "Diese Box kann seit {0} nicht auf ihre Platte schreiben: Neue Werte stehen höchstens im Arbeitsspeicher, und der reicht nur kurz.";
    disk_full: "The room for values on the disk of this box is used up: the oldest values are being lost.",
        "Der Platz für Werte auf der Platte dieser Box ist verbraucht: Die ältesten Werte gehen verloren.";
    machine_says: "{0}: {1}.", "{0}: {1}.";
    machines_partly: "{0} machines deliver only part of their values: {1}.",
        "{0} Maschinen liefern nur einen Teil ihrer Werte: {1}.";
    machines_served: "{0} machines are being worked on: {1}.", "An {0} Maschinen wird gearbeitet: {1}.";
    machines_doubtful: "{0} machines deliver doubtful values: {1}.",
        "{0} Maschinen liefern zweifelhafte Werte: {1}.";
    note_it_waits: "IT has taken nothing since {0}", "Die IT nimmt seit {0} nichts ab";
    note_settings: "Nothing goes to IT since {0}: this box’s own settings are wrong",
        "Nichts geht seit {0} an die IT: Eigene Einstellungen dieser Box sind falsch";
    note_disk: "The disk of this box cannot be read since {0}",
        "Der Datenträger dieser Box lässt sich seit {0} nicht lesen";
    note_kept: "; the values are kept here.", "; die Werte bleiben hier gespeichert.";
    note_paused: "Nothing goes to IT: paused by {0} since {1}.", "Nichts geht an die IT: angehalten von {0} seit {1}.";
    note_fenced: "Nothing goes to IT: another box uses the name {0}.",
        "Nichts geht an die IT: Eine andere Box benutzt den Namen {0}.";
    note_fenced_import: "Nothing goes to IT just now: {0} sends a backlog of this box.",
        "Im Augenblick geht nichts an die IT: {0} sendet einen Rückstand dieser Box.";

    // Causes: the hint stands in brackets in the verdict, the sentence beside the machine.
    hint_unreachable: "cable or PLC off?", "Kabel oder SPS aus?";
    hint_timeout: "PLC stopped or overloaded?", "SPS steht oder ist überlastet?";
    hint_mismatch: "wrong device at this address?", "falsches Gerät an dieser Adresse?";
    hint_lost: "connection breaks off", "Verbindung bricht ab";
    hint_no_place: "waits for a connection", "wartet auf eine Verbindung";
    hint_refused: "the PLC does not allow reading", "die SPS erlaubt das Lesen nicht";
    hint_not_trusted: "password or certificate?", "Passwort oder Zertifikat?";
    hint_not_verified: "wrong machine or changed program?", "falsche Maschine oder geändertes Programm?";
    hint_configuration: "settings of this machine are wrong", "Einstellungen dieser Maschine falsch";
    hint_file: "file has faults", "Datei hat Fehler";
    hint_panic: "software fault of this box", "Softwarefehler dieser Box";
    hint_other: "cause unknown", "Ursache unbekannt";
    cause_unreachable: "No connection: cable or PLC off?", "Keine Verbindung: Kabel oder SPS aus?";
    cause_timeout: "No answer: PLC stopped or overloaded?", "Keine Antwort: SPS steht oder ist überlastet?";
    cause_mismatch: "Answers do not fit: wrong device at this address?",
        "Antworten passen nicht: falsches Gerät an dieser Adresse?";
    cause_lost: "The connection breaks off: cable, switch or PLC?",
        "Verbindung bricht ab: Kabel, Switch oder SPS?";
    cause_no_place: "It waits: the PLC already has as many connections to us as its budget permits", "Sie wartet: Die SPS hat schon so viele Verbindungen zu uns, wie ihr Budget erlaubt";
    cause_refused: "The PLC does not allow reading", "Die SPS erlaubt das Lesen nicht";
    cause_not_trusted: "Not let in: password or certificate?", "Kein Zutritt: Passwort oder Zertifikat?";
    cause_not_verified: "Check failed: wrong machine or changed program?",
        "Prüfung misslungen: falsche Maschine oder geändertes Programm?";
    cause_configuration: "The settings of this machine are wrong",
        "Die Einstellungen dieser Maschine sind falsch";
    cause_file: "its file has faults: {0}, {1}", "ihre Datei hat Fehler: {0}, {1}";
    cause_file_kept: "its new file has faults, it is read as before: {0}, {1}",
        "ihre neue Datei hat Fehler, sie wird wie bisher gelesen: {0}, {1}";
    cause_panic: "Software fault of this box; it tries again",
        "Softwarefehler dieser Box; sie versucht es wieder";
    cause_other: "No data, cause unknown", "Keine Daten, Ursache unbekannt";
    // {0} is the active box, {1} what is known of it, in parts below.
    standby_waits: "This box stands by for {0}: {1}.", "Diese Box steht für {0} bereit: {1}.";
    standby_reads: "This box reads the machines of {0} and marks what it writes: {1}.",
        "Diese Box liest die Maschinen von {0} und kennzeichnet, was sie schreibt: {1}.";
    heartbeat_lives: "it answers on the local network", "sie antwortet im örtlichen Netz";
    heartbeat_gone: "it does not answer on the local network", "sie antwortet im örtlichen Netz nicht";
    heartbeat_unknown: "it cannot be asked on the local network", "sie kann im örtlichen Netz nicht gefragt werden";
    lease_lives: "its lease in Kafka holds", "ihr Lebenszeichen in Kafka gilt";
    lease_gone: "its lease in Kafka has run out", "ihr Lebenszeichen in Kafka ist abgelaufen";
    lease_not_yet: "of its lease in Kafka nothing is known yet", "von ihrem Lebenszeichen in Kafka ist noch nichts bekannt";
    lease_unknown: "its lease in Kafka cannot be looked at", "nach ihrem Lebenszeichen in Kafka kann nicht gesehen werden";
    lease_not_taken: "Kafka does not take the lease of this box, so its standby sees it only on the local network: {0}",
        "Kafka nimmt das Lebenszeichen dieser Box nicht an, ihre Ersatzbox sieht sie nur noch im örtlichen Netz: {0}";
    other_box_reads: "box {0} reads it", "wird von Box {0} gelesen";
    connecting: "being connected", "wird verbunden";
    unreadable_one: "1 of {1} values cannot be read", "1 von {1} Werten nicht lesbar";
    unreadable_many: "{0} of {1} values cannot be read", "{0} von {1} Werten nicht lesbar";
    served: "someone works on the machine", "an der Maschine wird gearbeitet";
    old_one: "1 of {1} values is old", "1 von {1} Werten ist alt";
    old_many: "{0} of {1} values are old", "{0} von {1} Werten sind alt";
    outside_one: "1 of {1} values is outside its range", "1 von {1} Werten außerhalb des Bereichs";
    outside_many: "{0} of {1} values are outside their range", "{0} von {1} Werten außerhalb des Bereichs";
    uncertain_one: "1 of {1} values is uncertain", "1 von {1} Werten ist unsicher";
    uncertain_many: "{0} of {1} values are uncertain", "{0} von {1} Werten sind unsicher";
    since: "since {0}", "seit {0}";

    // Tiles.
    to_it: "To IT", "An die IT";
    up_to_date: "Up to date", "Aktuell";
    up_to_date_delay: "Up to date ({0})", "Aktuell ({0})";
    catching_up: "Catching up", "Holt auf";
    records_left: "{0} records to send", "{0} Datensätze zu senden";
    done_in: "done in about {0}", "fertig in etwa {0}";
    it_connecting: "Being connected", "Wird verbunden";
    it_waiting: "Waiting since {0}", "Wartet seit {0}";
    kept_here: "Nothing is lost. Records kept here: {0}.", "Nichts verloren. Datensätze hier: {0}.";
    waiting_here: "Records waiting here: {0}.", "Datensätze, die warten: {0}.";
    kept_here_perhaps: "Nothing is lost: up to {0} records are still to be sent, IT may have some of them already.",
        "Nichts geht verloren: Bis zu {0} Datensätze sind noch zu senden, einen Teil hat die IT vielleicht schon.";
    waiting_here_perhaps: "Up to {0} records wait here, IT may have some of them already.",
        "Bis zu {0} Datensätze warten hier, einen Teil hat die IT vielleicht schon.";
    it_settings: "This box’s own settings are wrong: {0}", "Eigene Einstellungen dieser Box sind falsch: {0}";
    it_disk: "What is to be sent cannot be read from this box’s disk, it is tried again: {0}",
        "Was zu senden ist, lässt sich vom Datenträger dieser Box nicht lesen, es wird weiter versucht: {0}";
    it_unreachable: "IT cannot be reached: network or server off?",
        "IT nicht erreichbar: Netzwerk oder Server aus?";
    it_timeout: "IT does not answer in time", "IT antwortet nicht rechtzeitig";
    it_refused: "IT does not accept this box: rights missing?", "IT nimmt diese Box nicht an: Rechte fehlen?";
    it_not_trusted: "IT does not let this box in: password or certificate?",
        "IT lässt diese Box nicht ein: Passwort oder Zertifikat?";
    it_other: "IT does not take the data", "IT nimmt die Daten nicht ab";
    fenced: "Stopped: name used twice", "Angehalten: Name doppelt";
    fenced_fix: "Another box uses the name {0}. Give one of them another name.",
        "Eine andere Box benutzt den Namen {0}. Einer von beiden einen anderen Namen geben.";
    it_second: "Meanwhile the second IT site gets the data: {0} records so far.",
        "Solange bekommt der zweite IT-Standort die Daten: bisher {0} Datensätze.";
    it_paused: "Paused", "Angehalten";
    it_paused_by: "by {0} since {1}", "von {0} seit {1}";
    fenced_import: "Waits for another box", "Wartet auf eine andere Box";
    fenced_import_fix: "{0} sends a backlog of this box; it goes on by itself after that.",
        "{0} sendet einen Rückstand dieser Box; danach geht es von selbst weiter.";
    shut_out: "at {0} somebody else sent under the name of this box: a second box, or an import of its backlog?",
        "um {0} hat jemand anderes unter dem Namen dieser Box gesendet: eine zweite Box oder ein Import ihres Rückstands?";
    errand_import: "backlog of {0}: {1} % sent", "Rückstand von {0}: {1} % gesendet";
    errand_held: "backlog of {0} is held: see forebay journal status", "Rückstand von {0} steht: siehe forebay journal status";
    errand_replay: "replay {0} sends history again: {1} %", "Wiederholung {0} sendet Vergangenes noch einmal: {1} %";
    older_follow: "{0} older records follow", "{0} ältere Datensätze folgen";
    older_wait: "at the time set for them", "zur dafür eingestellten Zeit";
    sending_rate: "{0} records per second", "{0} Datensätze je Sekunde";
    sent_so_far: "{0} records since the start", "{0} Datensätze seit dem Start";
    offline_reserve: "Offline reserve", "Offline-Reserve";
    being_measured: "Being measured, takes a few minutes", "Wird gemessen, dauert einige Minuten";
    disk_broken: "Disk does not accept data", "Platte nimmt nichts an";
    reserve_full: "Full", "Voll";
    reserve_full_fix: "The oldest values are dropped first.", "Die ältesten Werte fallen zuerst weg.";
    thinning: "Summing up", "Wird verdichtet";
    thinning_fix: "The room is used up: the oldest values are summed up.",
        "Der Platz ist verbraucht: Die ältesten Werte werden verdichtet.";
    full_since: "in full since {0}, summed up before", "vollständig seit {0}, davor verdichtet";
    then_thinned: "then about {0} more, the oldest summed up", "danach etwa {0} mehr, die ältesten verdichtet";
    flash_own: "flash lasts {2} at Forebay’s {0} a day (if it endures {1})",
        "Flash hält {2} bei Forebays {0} am Tag (wenn er {1} aushält)";
    flash_all: "only {1} at the {0} a day of all programs together",
        "nur {1} bei den {0} am Tag aller Programme zusammen";
    room_used: "{0} of {1} used", "{0} von {1} belegt";
    oldest_unsent: "oldest unsent value {0}", "ältester ungesendeter Wert {0}";
    dropped: "{0} records lost since the start", "{0} Datensätze seit dem Start verloren";
    perhaps_dropped: "{0} records removed since the start may be lost: IT may not have all of them",
        "{0} seit dem Start gelöschte Datensätze sind vielleicht verloren: Die IT hat womöglich nicht alle";
    predictions: "Predictions", "Vorhersagen";
    nothing_unusual: "Nothing unusual", "Nichts Auffälliges";
    models_run_one: "1 model runs", "1 Modell läuft";
    models_run_many: "{0} models run", "{0} Modelle laufen";
    no_models: "No models set up", "Keine Modelle eingerichtet";
    last_check: "last check {0} ago", "letzte Prüfung vor {0}";
    model_collecting: "collecting values", "sammelt Werte";
    model_raised: "unusual", "auffällig";
    model_suppressed: "no statement: values missing", "keine Aussage: Werte fehlen";
    model_broken: "cannot run", "kann nicht laufen";
    model_normal: "nothing unusual", "nichts Auffälliges";
    model_of: "{0}: {1}", "{0}: {1}";

    // Header, footer and navigation.
    overview: "Overview", "Übersicht";
    events: "Events", "Ereignisse";
    clock_ok: "clock ok", "Uhr ok";
    clock_wrong: "clock not set", "Uhr nicht gestellt";
    clock_free: "Nobody sets the clock of this box (no time server?): times may be wrong, the order of values is right.",
        "Niemand stellt die Uhr dieser Box (kein Zeitserver?): Zeiten können falsch sein, die Reihenfolge der Werte stimmt.";
    clock_was_forward: "The clock of this box was set forward by {0} ({1}): earlier times may be off by as much.",
        "Die Uhr dieser Box wurde um {0} vorgestellt ({1}): Frühere Zeiten können um so viel falsch sein.";
    clock_was_back: "The clock of this box was set back by {0} ({1}): earlier times may be off by as much.",
        "Die Uhr dieser Box wurde um {0} zurückgestellt ({1}): Frühere Zeiten können um so viel falsch sein.";
    language: "Language", "Sprache";
    page_old: "This page is old. Nothing has come from the box since {0}.",
        "Diese Seite ist alt. Seit {0} kam nichts mehr von der Box.";
    no_events: "Nothing has happened yet.", "Noch nichts geschehen.";
    values_from_to: "Values {0} to {1} of {2}", "Werte {0} bis {1} von {2}";
    machines_from_to: "Machines {0} to {1} of {2}", "Maschinen {0} bis {1} von {2}";
    previous: "Back", "Zurück";
    next: "Next", "Weiter";
    version: "Forebay {0}", "Forebay {0}";
    up_since: "runs since {0}", "läuft seit {0}";
    to_content: "To the content", "Zum Inhalt";

    // The machine.
    values_good: "{0} of {1} values good", "{0} von {1} Werten gut";
    last_good: "last good value {0} ago", "letzter guter Wert vor {0}";
    age_title: "Age of the last good value", "Alter des letzten guten Werts";
    good_title: "Good values of all", "Gute Werte von allen";
    rate_title: "Values per minute in the last hour, now {0}", "Werte je Minute in der letzten Stunde, jetzt {0}";
    connection: "Connection", "Verbindung";
    certificates: "Certificates of the server", "Zertifikate des Servers";
    certificate_waiting: "waits for a decision", "wartet auf eine Entscheidung";
    certificate_trusted: "trusted", "vertraut";
    certificate_refused: "refused: the file of this machine names another one",
        "abgelehnt: die Datei dieser Maschine nennt ein anderes";
    certificate_expired: "{0}, has expired", "{0}, ist abgelaufen";
    certificate_subject: "Name", "Name";
    certificate_fingerprint: "Fingerprint", "Fingerabdruck";
    certificate_until: "Valid until", "Gültig bis";
    certificate_seen: "First seen", "Zuerst gesehen";
    certificate_how: "Compare the fingerprint at the server itself. This page only shows; on the box, type:",
        "Den Fingerabdruck am Server selbst vergleichen. Diese Seite zeigt nur; auf der Box eingeben:";
    state_up: "connected since {0}", "verbunden seit {0}";
    state_down: "no data since {0}", "keine Daten seit {0}";
    state_never: "no data yet since {0}", "keine Daten seit {0}";
    state_not_read: "not read: mend the file; it is taken over when you save it",
        "wird nicht gelesen: Datei korrigieren; sie wird beim Speichern übernommen";
    file_faults: "What is wrong with its file", "Was an ihrer Datei falsch ist";
    state_standing_by: "not read", "wird nicht gelesen";
    state_starting: "being connected", "wird verbunden";
    address: "Address", "Adresse";
    backup: "Read at the backup address", "Gelesen über die Ersatzadresse";
    slowed: "Read less often", "Seltener gelesen";
    // {0} is the scan class, {1} and {2} the interval asked for and kept, {3} the length of a round.
    slowed_why: "{0}: every {2} ms instead of {1} ms, because a round takes {3} ms",
        "{0}: alle {2} ms statt {1} ms, weil eine Runde {3} ms dauert";
    round_trip: "Last reading took", "Letztes Lesen dauerte";
    requests: "Requests", "Anfragen";
    errors: "Failures since the start", "Fehlschläge seit Start";
    connects: "Connected since the start", "Seit dem Start verbunden";
    times_once: "once", "einmal";
    times: "{0} times", "{0}-mal";
    missed: "Readings too late", "Zu späte Lesungen";
    identity: "Says of itself", "Nennt sich";
    profile: "Profile", "Profil";
    checks: "Checks after connecting", "Prüfungen nach dem Verbinden";
    checks_passed: "passed", "bestanden";
    checks_failed: "failed", "nicht bestanden";
    checks_waiting: "not yet run", "noch nicht gelaufen";
    for_engineer: "For the engineer", "Für den Techniker";
    never: "never", "nie";
    yes: "yes", "ja";
    no: "no", "nein";
    bits_none: "none", "keine";
    range_title: "Range {0} to {1}", "Bereich {0} bis {1}";
    score_of: "score {0}, limit {1}", "Kennwert {0}, Grenze {1}";
    model_version: "model version {0}", "Modellversion {0}";
    score_title: "Score over time; the line is the limit", "Kennwert im Verlauf; die Linie ist die Grenze";
    quality_function_check: "someone works on it", "in Arbeit";
    quality_out_of_range: "outside its range", "außerhalb des Bereichs";
    quality_uncertain: "device calls it uncertain", "laut Gerät unsicher";
    quality_refused: "device refuses this address", "Gerät verweigert diese Adresse";
    quality_invalid: "no valid value", "kein gültiger Wert";
    quality_bad: "device calls it bad", "laut Gerät schlecht";
    quality_not_verified: "check failed", "Prüfung misslungen";
    quality_no_connection: "no connection", "keine Verbindung";
    quality_old: "old", "alt";
    quality_waiting: "not yet read", "noch nicht gelesen";
    other_values: "Other values", "Weitere Werte";

    // NE 107.
    letter_f: "Failure", "Ausfall";
    letter_c: "Function check", "Funktionskontrolle";
    letter_s: "Out of specification", "Außerhalb der Spezifikation";
    letter_m: "Maintenance required", "Wartungsbedarf";

    // Refusals.
    not_found: "There is no such page on this box.", "Diese Seite gibt es auf dieser Box nicht.";
    no_such_machine: "There is no machine with this name on this box.",
        "Eine Maschine mit diesem Namen gibt es auf dieser Box nicht.";
    read_only: "This page can only be read (GET or HEAD).", "Diese Seite kann nur gelesen werden (GET oder HEAD).";
    too_long: "The address of the page is too long.", "Die Adresse der Seite ist zu lang.";
    too_many: "Too many readers at once. Please try again in a few seconds.",
        "Zu viele Leser gleichzeitig. Bitte in einigen Sekunden wieder versuchen.";
    wrong_host: "This box does not answer to the name in the address. Use its IP address, or add the name to forebay.toml: host_names under [status].",
        "Diese Box hört nicht auf den Namen in der Adresse. Ihre IP-Adresse benutzen oder den Namen in forebay.toml aufnehmen: host_names unter [status].";
    healthy: "ok: polling and journal work", "ok: Abfrage und Journal arbeiten";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<&str> {
        let mut found: Vec<_> = text.match_indices('{').map(|(at, _)| &text[at..at + 3]).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn both_languages_have_every_text_with_the_same_places() {
        for (name, en, de) in
            Words::ALL.iter().chain(EventWords::ALL).chain(HealthWords::ALL).chain(PeopleWords::ALL)
        {
            assert!(!en.is_empty() && !de.is_empty(), "{name} is empty");
            assert_eq!(places(en), places(de), "{name}");
            assert_eq!(places(stretch(en)), places(en), "{name}");
        }
    }

    #[test]
    fn the_stretched_language_is_at_least_40_percent_longer() {
        let text = Words::EN.all_deliver;
        let longer = Language::Stretched.words().all_deliver.chars().count();
        assert!(longer * 10 >= text.chars().count() * 13, "{longer}");
    }

    #[test]
    fn filling_never_searches_what_was_filled_in() {
        assert_eq!(fill("{1} and {0}", &["{1}", "{0}"]), "{0} and {1}");
        assert_eq!(fill("no end {", &["x"]), "no end {");
        assert_eq!(fill("{9}", &["x"]), "");
    }

    #[test]
    fn accept_language_is_weighed() {
        assert_eq!(Language::accepted("fr, de;q=0.8, en;q=0.9"), Some(Language::En));
        assert_eq!(Language::accepted("de-AT,de;q=0.9,en;q=0.5"), Some(Language::De));
        assert_eq!(Language::accepted("fr, en;q=0"), None);
        assert_eq!(Language::accepted(&"x,".repeat(10_000)), None);
    }
}
