// Rounds of one thing, one at a time: whoever wakes it while a round runs gets another one after it.

export class Loop {
  constructor(round) {
    this.round = round;
    this.runs = this.again = false;
  }

  async wake() {
    this.again = true;
    if (this.runs) return;
    this.runs = true;
    try {
      while (this.again) {
        this.again = false;
        await this.round();
      }
    } finally {
      this.runs = false;
    }
  }
}
