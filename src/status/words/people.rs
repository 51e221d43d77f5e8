//! The words around people: signing in, and why a button did nothing.

words! {
    PeopleWords:
    sign_in: "Sign in", "Anmelden";
    sign_out: "Sign out", "Abmelden";
    signed_in: "Signed in: {0}", "Angemeldet: {0}";
    why: "Everybody may read this page. Who signs in may also answer what the models report.",
        "Lesen darf hier jeder. Wer sich anmeldet, darf auch beantworten, was die Modelle melden.";
    name: "Name", "Name";
    password: "Password", "Passwort";
    nobody: "Nobody is set up yet. On the box: forebay person add NAME",
        "Noch niemand ist eingerichtet. Auf der Box: forebay person add NAME";
    not_from_here: "Signing in does not work from this device: the password would go through the network unencrypted. Sign in at the box itself, or through a tunnel (ssh -L 8080:127.0.0.1:8080), or ask whoever looks after the box.",
        "Von diesem Gerät aus geht das Anmelden nicht: Das Passwort ginge unverschlüsselt durchs Netz. An der Box selbst anmelden, durch einen Tunnel (ssh -L 8080:127.0.0.1:8080), oder den Betreuer der Box fragen.";
    in_the_clear: "The password goes through the network unencrypted: who listens there can read it.",
        "Das Passwort geht unverschlüsselt durchs Netz: Wer dort mithört, kann es lesen.";
    wrong: "The name or the password is wrong.", "Name oder Passwort ist falsch.";
    wait: "Too many wrong passwords. Please try again in {0}.",
        "Zu viele falsche Passwörter. Bitte in {0} wieder versuchen.";
    not_signed_in: "You are not signed in (any more). Nothing was done: please sign in and repeat it.",
        "Nicht (mehr) angemeldet. Nichts wurde getan: bitte anmelden und wiederholen.";
    forged: "This request did not come from a form of this page. Nothing was done.",
        "Diese Anfrage kam nicht aus einem Formular dieser Seite. Nichts wurde getan.";
    not_yours: "Nothing was done: this needs the role {0}.", "Nichts wurde getan: Dazu gehört die Rolle {0}.";
    bad_form: "The form is not complete or too long. Nothing was done.",
        "Das Formular ist unvollständig oder zu lang. Nichts wurde getan.";
    failed: "Nothing was done: {0}", "Nichts wurde getan: {0}";
    back: "Back", "Zurück";
}
