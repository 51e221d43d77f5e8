//! The words of "Is anything about to fail?".

words! {
    HealthWords:
    tab: "Health", "Zustand";
    question: "Is anything about to fail?", "Droht etwas auszufallen?";

    // The answer. {0} is how many models run, {1} how long ago the last check was.
    nothing: "Nothing unusual. {0}, last check {1} ago.", "Nichts Auffälliges. {0}, letzte Prüfung vor {1}.";
    nothing_where: "Nothing unusual where models watch: {0} of {1} do, last check {2} ago.",
        "Nichts Auffälliges, wo Modelle wachen: {0} von {1}, letzte Prüfung vor {2}.";
    nobody_watches: "No model is watching. What stands below says why.",
        "Kein Modell wacht. Unten steht, warum.";
    no_models: "No models are set up on this box, so nothing is predicted.",
        "Auf dieser Box sind keine Modelle eingerichtet, also wird nichts vorhergesagt.";
    one_unusual: "{0}: {1}.", "{0}: {1}.";
    many_unusual: "{0} machines or parts need a look, first of all {1}: {2}.",
        "{0} Maschinen oder Teile ansehen, zuerst {1}: {2}.";
    others_silent: "{0} of {1} models do not watch.", "{0} von {1} Modellen wachen nicht.";
    low: "look at it when you pass by", "bei Gelegenheit ansehen";
    medium: "look at it this week", "diese Woche ansehen";
    high: "look at it today", "heute ansehen";

    // One model on one machine.
    score: "Score {0}, limit {1}", "Kennwert {0}, Grenze {1}";
    checked: "last check {0} ago", "letzte Prüfung vor {0}";
    far: "{0} times the limit at worst", "schlimmstenfalls das {0}-fache der Grenze";
    still_not_watching: "Not watching now: {0}", "Wacht im Augenblick nicht: {0}";
    since: "Since when", "Seit wann";
    since_about: "about {0}, reported {1}", "etwa {0}, gemeldet {1}";
    since_earlier: "{0} or earlier, reported {1}", "{0} oder früher, gemeldet {1}";
    since_unknown: "not known, reported {0}", "nicht bekannt, gemeldet {0}";
    how_sure: "How sure", "Wie sicher";
    // {0} far, {1} how long, {2} share of good inputs.
    sure: "quite sure: {0}, for {1}, {2} % of its inputs good",
        "ziemlich sicher: {0}, seit {1}, {2} % seiner Eingänge gut";
    likely: "likely: {0}, for {1}, {2} % of its inputs good",
        "wahrscheinlich: {0}, seit {1}, {2} % seiner Eingänge gut";
    unsure: "not sure yet: {0}, for {1}, {2} % of its inputs good",
        "noch unsicher: {0}, seit {1}, {2} % seiner Eingänge gut";
    look_at: "What to look at", "Was ansehen";
    mostly: "Mostly seen in", "Zu sehen vor allem an";
    followed: "Slow change", "Langsame Änderung";
    // {0} tag, {1} per cent.
    followed_share: "{0}: {1} % of what a model follows without an alarm is used up. Look at the machine; if it is right as it is now, an engineer accepts it as the new normal.",
        "{0}: {1} % dessen, dem ein Modell ohne Alarm folgt, sind verbraucht. Maschine ansehen; ist es richtig, wie es jetzt ist, nimmt ein Techniker es als neues Normal an.";
    watched: "Watched", "Gewacht";
    // {0} per cent, {1} since when.
    watched_share: "{0} % of the time since {1}", "{0} % der Zeit seit {1}";
    model: "Model", "Modell";
    // {0} name, {1} version, {2} hash.
    model_version: "{0}, version {1} ({2})", "{0}, Version {1} ({2})";
    model_since: "{0}, version {1} ({2}), here since {3}", "{0}, Version {1} ({2}), hier seit {3}";
    life: "Remaining life", "Restlebensdauer";
    // {0} likely, {1} at least, {2} at most.
    life_band: "about {0}, between {1} and {2}", "etwa {0}, zwischen {1} und {2}";
    month: "Score of the last 30 days: mean, lowest and highest. The band below the dashed line is normal.",
        "Kennwert der letzten 30 Tage: Mittel, tiefster und höchster. Das Band unter der gestrichelten Linie ist normal.";
    month_from: "30 days ago", "vor 30 Tagen";
    month_to: "now", "jetzt";

    // What is over.
    over: "Over", "Vorbei";
    // {0} begin, {1} end.
    over_from_to: "from {0} to {1}", "von {0} bis {1}";
    more_from_to: "{0} to {1} of {2} models", "{0} bis {1} von {2} Modellen";

    // Answers.
    answers: "Answers", "Antworten";
    seen: "Seen", "Gesehen";
    real: "Was real", "War echt";
    false_alarm: "False alarm", "Fehlalarm";
    note: "Note (may be empty)", "Notiz (kann leer bleiben)";

    // Orders of engineers.
    learn: "Learn again", "Neu lernen";
    learn_why: "The box learns from its journal of the last days what is normal. Only do this when the machine ran as it should: a fault that was there becomes normal.",
        "Die Box lernt aus ihrem Journal der letzten Tage, was normal ist. Nur tun, wenn die Maschine lief, wie sie soll: Ein Fehler, der da war, wird normal.";
    learn_new: "Not watched yet", "Noch nicht bewacht";
    learn_device: "Learn {0}", "{0} lernen";
    promote: "Let the version in shadow take over", "Version im Schatten übernehmen lassen";
    promote_why: "A version in shadow scores beside the active one and says nothing; forebay model list compares them.",
        "Eine Version im Schatten bewertet neben der aktiven und sagt nichts; forebay model list vergleicht beide.";
    accept: "Accept as the new normal", "Als neues Normal annehmen";
    accept_why: "What was measured of late (an average of about a hundred rows, by default two minutes) becomes the new normal, for instance after a new tool or a repair. Let the machine run like that for five minutes first, and only do this when you know why it is different.",
        "Was zuletzt gemessen wurde (ein Mittel von etwa hundert Zeilen, meist zwei Minuten), wird das neue Normal, etwa nach neuem Werkzeug oder Reparatur. Die Maschine vorher fünf Minuten so laufen lassen, und nur, wenn bekannt ist, warum sie anders ist.";
    sign_in_to_answer: "Sign in to answer", "Anmelden, um zu antworten";
}
