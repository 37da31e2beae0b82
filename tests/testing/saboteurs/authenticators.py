"""Authenticators that each break one rule."""

import time

from sfs_core import AuthenticationError, Authenticator, Caller


class Honest(Authenticator):
    """Keeps all rules: a word in a header."""

    breaks = ""

    def authenticate(self, credentials):
        word = credentials.headers.get("x-word")
        if word is None:
            return None
        if word != "sesame":
            raise AuthenticationError("the word is not known")
        return Caller("shop")


class KnowsOnce(Honest):
    breaks = "good_credentials_name_the_caller"
    asked = 0

    def authenticate(self, credentials):
        self.asked += 1
        return super().authenticate(credentials) and Caller("shop" if self.asked == 1 else "bank")


class WantsWords(Honest):
    breaks = "no_credentials_are_left_to_others"

    def authenticate(self, credentials):
        if credentials.headers:
            return super().authenticate(credentials)
        raise AuthenticationError("a word is needed")


class LetsOthersTry(Honest):
    breaks = "wrong_credentials_are_refused"

    def authenticate(self, credentials):
        try:
            return super().authenticate(credentials)
        except AuthenticationError:
            return None


class BreaksDown(Honest):
    breaks = "strange_credentials_break_nothing"

    def authenticate(self, credentials):
        credentials.headers.get("x-word", "").encode()
        return super().authenticate(credentials)


class Quotes(Honest):
    breaks = "refusals_tell_nothing_of_the_credentials"

    def authenticate(self, credentials):
        try:
            return super().authenticate(credentials)
        except AuthenticationError:
            raise AuthenticationError(f"{credentials.headers['x-word']} is not known") from None


class Sleeps(Honest):
    breaks = "it_touches_memory_only"

    def authenticate(self, credentials):
        time.sleep(0.0005)
        return super().authenticate(credentials)


class NeedsOpen(Honest):
    breaks = "it_may_be_closed_twice_and_unopened"

    def open(self):
        self.words = {}

    def close(self):
        self.words.clear()
