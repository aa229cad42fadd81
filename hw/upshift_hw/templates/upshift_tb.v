// Self-checking testbench of the update unit: needs no more than this directory.
//
//     iverilog -o tb upshift.v upshift_tb.v && vvp tb
//
// From the initial weights on, it plays the commands and gradients of vectors/ with pauses between
// them and readers that are often busy, and compares every report and every final weight with what
// the exact integer model expects. The last line is PASS or FAIL; a failure also ends the simulator
// with a non-zero status.
//
//     vvp tb +vcd           writes upshift.vcd
//     vvp tb +full_speed    no pauses

`timescale 1ns / 1ps
`default_nettype none

module upshift_tb;
@@{parameters}

  // Clocks without any progress after which the testbench gives up.
  localparam PATIENCE = 10000;
  // Differences that are shown; the others are counted.
  localparam SHOWN = 10;

  // -- vectors --------------------------------------------------------------------------------

  reg [ROW_WIDTH-1:0]     initial_weights [0:ROWS-1];
  reg [ROW_WIDTH-1:0]     final_weights   [0:ROWS-1];
  reg [COMMAND_WIDTH-1:0] commands        [0:COMMANDS-1];
  reg [BEAT_WIDTH-1:0]    gradients       [0:BEATS-1];
  reg [REPORT_WIDTH-1:0]  reports         [0:COMMANDS-1];

  // -- the unit -------------------------------------------------------------------------------

  reg                      clk = 1'b0;
  reg                      rst = 1'b1;
  reg  [COMMAND_WIDTH-1:0] command = 0;
  reg                      command_valid = 1'b0;
  wire                     command_ready;
  reg  [BEAT_WIDTH-1:0]    gradient = 0;
  reg                      gradient_valid = 1'b0;
  wire                     gradient_ready;
  wire [REPORT_WIDTH-1:0]  report;
  wire                     report_valid;
  reg                      report_ready = 1'b0;
@@{signals}
  reg  [ADDRESS_WIDTH-1:0] bus_address = 0;
  wire [31:0]              bus_read_data;

  upshift dut (
    .clk(clk),
    .rst(rst),
    .i_command__payload(command),
    .i_command__valid(command_valid),
    .i_command__ready(command_ready),
    .i_gradients__payload(gradient),
    .i_gradients__valid(gradient_valid),
    .i_gradients__ready(gradient_ready),
    .o_report__payload(report),
    .o_report__valid(report_valid),
    .o_report__ready(report_ready),
@@{dut_ports}
    .bus__address(bus_address),
    .bus__write_enable(1'b0),
    .bus__write_data(32'd0),
    .bus__read_data(bus_read_data)
  );

  always #5 clk = !clk;

  // -- pauses: a shift register as source of chance, and a phase that decides who uses it -------

  reg        full_speed = 1'b0;
  reg [31:0] chance = 32'h1;
  reg [10:0] clocks = 11'd0;
  wire       slow_inputs = clocks[9] && !full_speed;
  wire       slow_reader = clocks[10] && !full_speed;

  always @(posedge clk) begin
    clocks <= clocks + 11'd1;
    chance <= chance[0] ? (chance >> 1) ^ 32'h80200003 : chance >> 1;
  end

  // -- commands and gradients, each at its own pace ---------------------------------------------

  reg     running = 1'b0;
  integer next_command = 0;
  integer next_beat = 0;

  always @(posedge clk)
    if (!command_valid || command_ready) begin
      command_valid <= 1'b0;
      if (running && next_command < COMMANDS && !(slow_inputs && chance[3:2] != 0)) begin
        command <= commands[next_command];
        command_valid <= 1'b1;
        next_command <= next_command + 1;
      end
    end

  always @(posedge clk)
    if (!gradient_valid || gradient_ready) begin
      gradient_valid <= 1'b0;
      if (running && next_beat < BEATS && !(slow_inputs && chance[7])) begin
        gradient <= gradients[next_beat];
        gradient_valid <= 1'b1;
        next_beat <= next_beat + 1;
      end
    end

  // -- reports, compared as they come -----------------------------------------------------------

  integer failures = 0;
  integer reports_taken = 0;
  reg [COMMAND_WIDTH-1:0] reported;
  reg [REPORT_WIDTH-1:0]  expected;

  task compare(input [8*16-1:0] name, input [63:0] actual, input [63:0] wanted);
    if (actual !== wanted) begin
      if (failures < SHOWN)
        $display("FAIL: report %0d (%0s base %0d, count %0d, rate %0d, resolution %0d): %0s is %0d, expected %0d",
                 reports_taken, reported[OPERATION_LSB] ? "raise" : "update",
                 reported[BASE_LSB +: BASE_WIDTH], reported[COUNT_LSB +: COUNT_WIDTH],
                 reported[RATE_LSB +: RATE_WIDTH], reported[RESOLUTION_LSB +: RESOLUTION_WIDTH],
                 name, $signed(actual), $signed(wanted));
      failures = failures + 1;
    end
  endtask

  always @(posedge clk) begin
    report_ready <= !(slow_reader && chance[16:12] != 0);
    if (report_valid && report_ready) begin
      if (reports_taken == COMMANDS) begin
        if (failures < SHOWN) $display("FAIL: a report more than there were commands");
        failures = failures + 1;
      end else begin
        reported = commands[reports_taken];
        expected = reports[reports_taken];
@@{comparisons}
        reports_taken = reports_taken + 1;
      end
    end
  end

@@{tasks}
  // -- weights and registers ----------------------------------------------------------------------

  task compare_row(
      input integer row, input [ROW_WIDTH-1:0] found, input [ROW_WIDTH-1:0] expected_row);
    integer lane;
    reg signed [WEIGHT_WIDTH-1:0] actual, wanted;
    for (lane = 0; lane < LANES; lane = lane + 1) begin
      actual = found[lane*WEIGHT_WIDTH +: WEIGHT_WIDTH];
      wanted = expected_row[lane*WEIGHT_WIDTH +: WEIGHT_WIDTH];
      if (actual !== wanted) begin
        if (failures < SHOWN)
          $display("FAIL: weight %0d is %0d, expected %0d", row*LANES + lane, actual, wanted);
        failures = failures + 1;
      end
    end
  endtask

  // What this task drives changes at the falling edge.
  task check_register(input [8*16-1:0] name, input integer address, input [31:0] wanted);
    begin
      bus_address = address[ADDRESS_WIDTH-1:0];
      @(negedge clk);
      if (bus_read_data !== wanted) begin
        if (failures < SHOWN)
          $display("FAIL: register %0s is %h, expected %h", name, bus_read_data, wanted);
        failures = failures + 1;
      end
    end
  endtask

  // -- watchdog ---------------------------------------------------------------------------------

  reg [8*32-1:0] waiting_for = "reset";
  integer quiet = 0;

  always @(posedge clk) begin
    quiet <= quiet + 1;
    if (rst || command_valid && command_ready || gradient_valid && gradient_ready
        || report_valid && report_ready
@@{moves})
      quiet <= 0;
    if (quiet == PATIENCE) begin
      $display("commands offered %0d of %0d (the last one %0s), beats offered %0d of %0d (the last one %0s)",
               next_command, COMMANDS, command_valid ? "not taken" : "taken",
               next_beat, BEATS, gradient_valid ? "not taken" : "taken");
      $display("FAIL: nothing moved for %0d clocks; waited for %0s, %0d reports of %0d arrived",
               PATIENCE, waiting_for, reports_taken, COMMANDS);
      $fatal(1);
    end
  end

  // -- the run ----------------------------------------------------------------------------------

  integer row;

  initial begin
    if ($test$plusargs("vcd")) begin
      $dumpfile("upshift.vcd");
      $dumpvars(0, upshift_tb);
    end
    if ($test$plusargs("full_speed")) full_speed = 1'b1;
    $readmemh("vectors/initial_weights.hex", initial_weights);
    $readmemh("vectors/commands.hex", commands);
    $readmemh("vectors/gradients.hex", gradients);
    $readmemh("vectors/reports.hex", reports);
    $readmemh("vectors/final_weights.hex", final_weights);

    repeat (4) @(negedge clk);
    rst = 1'b0;
    @(negedge clk);
@@{identity}

@@{before}
    waiting_for = "a report";
    running = 1'b1;
    while (reports_taken != COMMANDS) @(negedge clk);
@@{after}
@@{outcome}

    if (failures != 0) begin
      $display("FAIL: %0d differences", failures);
      $fatal(1);
    end
    $display("PASS: %0d commands, %0d reports, %0d weights", COMMANDS, reports_taken, ROWS * LANES);
    $finish;
  end
endmodule

`default_nettype wire
