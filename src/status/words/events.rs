//! The words of the events. What stands in `{…}` is named beside it.

words! {
    EventWords:
    gap: "Gap", "Lücke";
    thinned: "Summed up", "Verdichtet";
    device: "Machine", "Maschine";
    alarm: "Message", "Meldung";
    prediction: "Prediction", "Vorhersage";
    model: "Model", "Modell";
    the_box: "Box", "Box";
    feedback: "Answer", "Antwort";
    person: "Person", "Person";

    // Machines and models.
    up: "delivers data", "liefert Daten";
    down: "sends nothing ({0})", "sendet nichts ({0})";
    alarm_on: "alarm: {0}", "Alarm: {0}";
    alarm_off: "alarm is over: {0}", "Alarm ist vorbei: {0}";
    messages_left_out: "{0} messages were left out: too many in a minute",
        "{0} Meldungen weggelassen: zu viele in einer Minute";
    // {0} is the scan class, {1} and {2} the interval asked for and kept, {3} the length of a round.
    slowed: "is too slow: a round of {0} takes {3} ms, {1} ms asked; read every {2} ms from now on",
        "ist zu langsam: eine Runde {0} dauert {3} ms, verlangt sind {1} ms; wird jetzt alle {2} ms gelesen";
    hastened: "is quicker again: {0} is read every {2} ms", "ist wieder schneller: {0} wird alle {2} ms gelesen";
    as_asked: "is quick enough again: {0} is read every {2} ms as asked",
        "ist wieder schnell genug: {0} wird wie verlangt alle {2} ms gelesen";
    address: "is read at {0} now, {1} was not reached", "wird jetzt über {0} gelesen, {1} war nicht erreichbar";
    raised: "{0}: score {1}, limit {2}. {3} ({4})", "{0}: Kennwert {1}, Grenze {2}. {3} ({4})";
    worse: "{0} is worse: highest score {1}, limit {2}. {3} ({4})",
        "{0} ist schlimmer: höchster Kennwert {1}, Grenze {2}. {3} ({4})";
    scored: "model {0}: mean score {1}, highest {2}", "Modell {0}: mittlerer Kennwert {1}, höchster {2}";
    not_scored: "model {0} gave no score", "Modell {0} gab keinen Kennwert";
    cleared: "{0} is over: score {1}", "{0} ist vorbei: Kennwert {1}";
    suppressed: "model {0} does not watch: {1}", "Modell {0} wacht nicht: {1}";
    scoring: "model {0} watches again: {1}", "Modell {0} wacht wieder: {1}";
    broken: "model {0} cannot run: {1}", "Modell {0} kann nicht laufen: {1}";
    // {0} is what the model watches, {1} the tag, {2} per cent.
    drift: "{0}: {1} has slowly moved: {2} % of what the model may follow is used up, past it there is an alarm. Look at the machine; if it is right as it is now, an engineer accepts it as the new normal (on the page of what is about to fail)",
        "{0}: {1} hat sich langsam verschoben: {2} % dessen, was das Modell mitgehen darf, sind verbraucht, danach gibt es Alarm. Die Maschine ansehen; ist sie richtig, wie sie jetzt ist, nimmt ein Engineer das als neues Normal an (auf der Seite, ob etwas auszufallen droht)";
    // {0} is the model, {1} the version before, {2} the one after, {3} why and by whom.
    model_installed: "model {0}: version {2} is in the store{3}", "Modell {0}: Version {2} ist im Speicher{3}";
    model_activated: "model {0}: version {2} runs now, before it was {1}{3}",
        "Modell {0}: Version {2} läuft jetzt, vorher war es {1}{3}";
    model_rolled_back: "model {0}: version {1} was taken back, {2} runs now{3}",
        "Modell {0}: Version {1} wurde zurückgenommen, {2} läuft jetzt{3}";
    model_shadow: "model {0}: version {2} runs in shadow and says nothing yet{3}",
        "Modell {0}: Version {2} läuft im Schatten und meldet noch nichts{3}";
    model_not_promoted: "model {0}: version {2} in shadow does not take over by itself{3}",
        "Modell {0}: Version {2} im Schatten übernimmt nicht von selbst{3}";
    model_shadow_ended: "model {0}: version {1} runs in shadow no more{3}",
        "Modell {0}: Version {1} läuft nicht mehr im Schatten{3}";
    model_accepted: "model {0}, version {2}: what it measures now is the new normal{3}",
        "Modell {0}, Version {2}: Was es jetzt misst, ist das neue Normal{3}";
    model_removed: "model {0}: version {1} was removed{3}", "Modell {0}: Version {1} wurde gelöscht{3}";
    model_refused: "model {0}: version {2} was refused{3}", "Modell {0}: Version {2} wurde abgelehnt{3}";

    // People: {0} what the model watches, {1} the person.
    answer_seen: "{0}: {1} has seen it", "{0}: {1} hat es gesehen";
    answer_real: "{0}: {1} says it was real", "{0}: {1} sagt, es war echt";
    answer_false_alarm: "{0}: {1} says it was a false alarm", "{0}: {1} sagt, es war ein Fehlalarm";
    // {0} the person, {1} where from.
    signed_in: "{0} signed in from {1}", "{0} hat sich von {1} angemeldet";
    signed_out: "{0} signed out", "{0} hat sich abgemeldet";
    sign_in_refused: "{0} was refused at {1}: several wrong passwords",
        "{0} wurde von {1} abgewiesen: mehrere falsche Passwörter";
    person_added: "{0} may press buttons on this page from now on",
        "{0} darf auf dieser Seite ab jetzt Knöpfe drücken";
    person_removed: "{0} may press no more buttons on this page", "{0} darf auf dieser Seite keine Knöpfe mehr drücken";

    // What is missing: {0} from, {1} to.
    no_values: "no values from {0} to {1} ({2})", "keine Werte von {0} bis {1} ({2})";
    from_history: "; {0} values of it come from the machine's own memory",
        "; {0} Werte davon stammen aus dem Speicher der Maschine";
    length_unknown: "; the clock of the box was set back meanwhile, so how long it was is not known",
        "; die Uhr der Box wurde währenddessen zurückgestellt, wie lange es war, ist daher unbekannt";
    box_off: "Forebay was not running", "Forebay lief nicht";
    too_slow: "{2} values from {0} to {1} are missing: the disk was too slow or did not work",
        "{2} Werte von {0} bis {1} fehlen: Die Platte war zu langsam oder arbeitete nicht";
    removed: "{2} records from {0} to {1} removed {3}: {4}", "{2} Datensätze von {0} bis {1} gelöscht, {3}: {4}";
    unsent: "unsent", "ungesendet";
    perhaps_sent: "when some of it may have been sent", "manches davon vielleicht schon gesendet";
    room_used: "the room on the disk is used up", "der Platz auf der Platte ist verbraucht";
    disk_full: "others leave too little room on the disk", "andere lassen zu wenig Platz auf der Platte";
    by_order: "an operator asked for it", "jemand hat es so verlangt";
    summed_up: "{3} records from {0} to {1} summed up, one row for {2}: {4}",
        "{3} Datensätze von {0} bis {1} verdichtet, eine Zeile für {2}: {4}";
    // {0} is the number of records.
    damaged: "{0} records on the disk are damaged and cannot be read",
        "{0} Datensätze auf der Platte sind beschädigt und nicht mehr lesbar";
    passed_over: "{0} records are passed over: the disk has given errors for too long",
        "{0} Datensätze werden übergangen: Die Platte meldet schon zu lange Fehler";
    unused: "numbers of records were left out after damage; nothing is known to be lost by that",
        "Nummern von Datensätzen wurden nach einem Schaden ausgelassen; soweit bekannt fehlt dadurch nichts";
    gone: "{0} records are no longer on this disk", "{0} Datensätze liegen nicht mehr auf dieser Platte";
    numbers_taken: "{0} records cannot be sent: the disk had lost its end or was put back from a copy, and IT has others under their numbers",
        "{0} Datensätze sind nicht mehr sendbar: Die Platte hatte ihr Ende verloren oder war eine Kopie, und die IT hat andere unter ihren Nummern";
    numbers_perhaps_taken: "{0} records cannot be sent: the disk had lost its end or was put back from a copy, and IT has records under their numbers, perhaps these",
        "{0} Datensätze sind nicht mehr sendbar: Die Platte hatte ihr Ende verloren oder war eine Kopie, und die IT hat Datensätze unter ihren Nummern, vielleicht diese";
    not_storable: "{0} values cannot be stored", "{0} Werte lassen sich nicht speichern";
    too_large: "a record of {0} is too large for IT and was not sent",
        "ein Datensatz mit {0} ist zu groß für die IT und wurde nicht gesendet";
    dead_letter: "IT refused a record: it is put aside there in the topic {0}",
        "die IT hat einen Datensatz abgelehnt: Er liegt dort gesondert im Topic {0}";
    rejected: "IT refused a record: it is not there", "die IT hat einen Datensatz abgelehnt: Er fehlt dort";
    missing: "values are missing ({0})", "es fehlen Werte ({0})";

    // The box.
    started: "Forebay {0} started", "Forebay {0} gestartet";
    started_without: "Forebay {0} started; file has faults, not read: {1}",
        "Forebay {0} gestartet; Datei hat Fehler, nicht gelesen: {1}";
    clock_forward: "the clock of the box was set forward by {0}", "die Uhr der Box wurde um {0} vorgestellt";
    clock_back: "the clock of the box was set back by {0}", "die Uhr der Box wurde um {0} zurückgestellt";
    it_away: "nothing goes to IT", "nichts geht an die IT";
    it_back: "IT takes data again, after {0}", "die IT nimmt wieder Daten ab, nach {0}";
    second_begins: "the second IT site takes the data while the first is away",
        "der zweite IT-Standort nimmt die Daten ab, solange der erste fehlt";
    second_ends: "the first IT site is back, the second one gets no more data ({0} records meanwhile)",
        "der erste IT-Standort ist wieder da, der zweite bekommt nichts mehr ({0} Datensätze inzwischen)";
    topic_new: "the topic {0} had been deleted and is new: what was in it is not sent again by itself",
        "das Topic {0} war gelöscht und ist neu: Was darin war, wird nicht von selbst noch einmal gesendet";
    disk_bad: "the disk does not accept data; new values wait in memory",
        "die Platte nimmt nichts an; neue Werte warten im Arbeitsspeicher";
    disk_good: "the disk works again", "die Platte arbeitet wieder";
    disk_short: "only {0} are free on the disk, less than the reserve of {1}: the journal grows no further",
        "nur {0} sind auf der Platte frei, weniger als die Reserve von {1}: Das Journal wächst nicht weiter";
    disk_small: "the budget of {0} is more than the {1} that the disk has for it: set a smaller budget",
        "das Budget von {0} ist mehr als die {1}, die die Platte dafür hat: Ein kleineres Budget einstellen";
    disk_unreadable: "the disk cannot be read; it is tried again, nothing is lost",
        "die Platte lässt sich nicht lesen; es wird weiter versucht, nichts geht verloren";
    disk_readable: "reading from the disk goes on", "das Lesen von der Platte geht weiter";
    new_numbers: "{0} records got new numbers, nothing is lost: the disk had lost its end or was put back from a copy",
        "{0} Datensätze haben neue Nummern, nichts ging verloren: Die Platte hatte ihr Ende verloren oder war eine Kopie";
    state_put_aside: "the small state of the box was damaged, it is begun anew",
        "der Merkspeicher der Box war beschädigt, er wird neu begonnen";
    no_state: "going on without the small state of the box: after a restart the times of gaps are less exact",
        "weiter ohne den Merkspeicher der Box: Nach einem Neustart sind die Zeiten von Lücken ungenauer";
    no_model: "the model {0} is in none of the folders for models",
        "das Modell {0} ist in keinem der Ordner für Modelle";
    shut_out: "somebody else has sent under the name of this box: a second box, or an import of its backlog",
        "jemand anderes hat unter dem Namen dieser Box gesendet: eine zweite Box oder ein Import ihres Rückstands";
    import_held: "the backlog of {0} is held", "der Rückstand von {0} steht";
    import_started: "the backlog of {0} is being sent ({1} records)",
        "der Rückstand von {0} wird gesendet ({1} Datensätze)";
    import_done: "the backlog of {0} is with IT ({1} records)",
        "der Rückstand von {0} ist bei der IT ({1} Datensätze)";
    // {0} is by whom, {1} a list of the parts below.
    configuration: "new configuration{0}: {1}", "neue Konfiguration{0}: {1}";
    by_whom: " (by {0})", " (von {0})";
    by_save: " (a file was saved)", " (eine Datei wurde gespeichert)";
    machines_new: "new machines: {0}", "neue Maschinen: {0}";
    machines_changed: "changed machines: {0}", "geänderte Maschinen: {0}";
    machines_removed: "removed machines: {0}", "entfernte Maschinen: {0}";
    tags_new: "new tags: {0}", "neue Tags: {0}";
    tables_new: "changed in forebay.toml: {0}", "in forebay.toml geändert: {0}";
    tags_removed: "removed tags: {0}", "entfernte Tags: {0}";
    after_restart: "only after a restart: {0}", "erst nach einem Neustart: {0}";
    configuration_faults: "files have errors and were not taken over ({0} errors); what runs goes on as it was",
        "Dateien haben Fehler und wurden nicht übernommen ({0} Fehler); was läuft, läuft weiter wie bisher";
    reloaded: "its configuration was changed", "ihre Konfiguration wurde geändert";
    replay_done: "the replay {0} is with IT", "die Wiederholung {0} ist bei der IT";
    replay_missing: "the replay {0} is with IT; {1} records were no longer there or not readable",
        "die Wiederholung {0} ist bei der IT; {1} Datensätze waren nicht mehr da oder nicht lesbar";
    standby_reads: "box {0} does not answer: this box reads its machines, and marks what it writes",
        "Box {0} antwortet nicht: Diese Box liest deren Maschinen und kennzeichnet, was sie schreibt";
    standby_reads_by_lease: "the lease of box {0} in Kafka has run out: this box reads its machines, and marks what it writes",
        "Das Lebenszeichen der Box {0} in Kafka ist abgelaufen: Diese Box liest deren Maschinen und kennzeichnet, was sie schreibt";
    standby_waits_by_lease: "box {0} writes its lease in Kafka again: this box stands by",
        "Box {0} gibt in Kafka wieder Lebenszeichen: Diese Box steht bereit";
    standby_waits: "box {0} answers again: this box stands by", "Box {0} antwortet wieder: Diese Box steht bereit";
    replay_cancelled: "the replay {0} was cancelled; what was sent stays with IT",
        "die Wiederholung {0} wurde abgebrochen; was gesendet ist, bleibt bei der IT";
}
